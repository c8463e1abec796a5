"""What a round of choices costs one device in bytes, from messages that are made and encoded."""

import numpy as np
import torch

from metaem_core.config.choice import ChoiceConfig
from metaem_core.data.ratings import Ints
from metaem_core.federated.bytes import masked_traffic
from metaem_core.federated.choice.server import ChoiceServer
from metaem_core.federated.encoding import ID_BYTES, Traffic, encode


def choice_traffic(config: ChoiceConfig, n_items: int, rows: int) -> Traffic:
    """Bytes of one device's round.

    Args:
        n_items: of the domain, which a masked round sends whole.
        rows: the items that the user chose, which an open round requests by id.
    """
    secure = config.payload == "secure"
    server = ChoiceServer(config, torch.zeros(n_items if secure else rows, config.size))
    if secure:
        return masked_traffic(server.broadcast(), server.shapes, config.cohort_size)
    sums = [torch.zeros(shape) for shape in server.shapes]
    answer = {str(place): part for place, part in enumerate(sums)}
    answer["totals"] = torch.zeros(2, dtype=torch.float64)
    down, up = len(encode(server.broadcast())), len(encode(answer))
    return Traffic(down, up + ID_BYTES * rows)


def choice_epoch_traffic(config: ChoiceConfig, n_items: int, counts: Ints) -> Traffic:
    """Bytes of an epoch, in which each device answers once; ``counts`` (m,) are its choices."""
    sizes, devices = np.unique(counts, return_counts=True)
    each = np.array([choice_traffic(config, n_items, int(size)) for size in sizes])
    return Traffic(*(each * devices[:, None]).sum(0).tolist())
