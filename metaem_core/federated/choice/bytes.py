"""What the model of choice costs devices in bytes, from messages that are made and encoded."""

import numpy as np
import torch

from metaem_core.config.choice import ChoiceConfig
from metaem_core.data.ratings import Ints
from metaem_core.federated.bytes import masked_traffic
from metaem_core.federated.choice.device import (
    ChoiceUpload,
    count_message,
    features_message,
    overlap_shapes,
    turned_message,
)
from metaem_core.federated.choice.server import ChoiceServer
from metaem_core.federated.encoding import ID_BYTES, Traffic, encode
from metaem_core.federated.remote.device import KEPT
from metaem_core.models.choice import ItemFactors
from metaem_core.models.choice_mapping import SourceFeatures


def choice_traffic(config: ChoiceConfig, n_items: int, rows: int, devices: int) -> Traffic:
    """Bytes of one device's round.

    Args:
        n_items: of the domain, which a masked round sends whole.
        rows: the items that the user chose, which an open round requests by id.
        devices: of the domain, which a masked round adds up.
    """
    secure = config.payload == "secure"
    sent = n_items if secure else rows
    basis = torch.zeros(sent, min(config.leading, n_items))
    server = ChoiceServer(config, torch.zeros(sent, config.size), basis)
    if secure:
        return masked_traffic(server.broadcast(), server.shapes, devices)
    items, moments, curvature, leading = map(torch.zeros, server.shapes)
    answer = ChoiceUpload(items, moments, curvature, leading, 0.0, 0).encoded()
    return Traffic(len(encode(server.broadcast())), len(answer) + ID_BYTES * rows)


def choice_epoch_traffic(config: ChoiceConfig, n_items: int, counts: Ints) -> Traffic:
    """Bytes of an epoch, in which each device answers once; ``counts`` (m,) are its choices."""
    sizes, devices = np.unique(counts, return_counts=True)
    each = np.array([choice_traffic(config, n_items, int(size), len(counts)) for size in sizes])
    return Traffic(*(each * devices[:, None]).sum(0).tolist())


def count_traffic(n_items: int, devices: int) -> Traffic:
    """Bytes of one device in a first sum, which is masked."""
    return masked_traffic(count_message(n_items), (torch.Size((n_items,)),), devices)


def features_traffic(features: SourceFeatures) -> Traffic:
    """Bytes of one source device, which computes its user's features and keeps them."""
    return Traffic(len(encode(features_message(features))), len(encode(KEPT)))


def overlap_traffic(target: ItemFactors, features: SourceFeatures, devices: int) -> Traffic:
    """Bytes of one target device in the mapping's two masked sums.

    Args:
        devices: of the training overlap, which are one cohort.
    """
    n, k = target.vectors.shape
    counts = count_traffic(n, devices)
    summed = torch.zeros(n, dtype=torch.bool)
    message = {**turned_message(target, torch.zeros(k, k)), "summed": summed}
    shapes = overlap_shapes(n, k, features.width, features.p)
    sums = masked_traffic(message, shapes, devices)
    return Traffic(counts.down + sums.down, counts.up + sums.up)
