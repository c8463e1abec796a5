"""What a round costs one device in bytes, from messages that are made and encoded."""

from typing import Literal, NamedTuple, get_args

import numpy as np
import torch

from metaem_core.config.pretrain import Layout, OpenLayout, PretrainConfig
from metaem_core.data.ratings import Ints
from metaem_core.data.user_profile import ITEM_FEATURES
from metaem_core.federated.encoding import (
    ID_BYTES,
    SUM,
    Contract,
    Message,
    Traffic,
    contract_of,
    encode,
)
from metaem_core.federated.layouts import LayoutCodec
from metaem_core.federated.messages import Download, Upload, tensors_of
from metaem_core.federated.secure.aggregation import Revealed
from metaem_core.federated.secure.coding import Closing, Coding
from metaem_core.federated.secure.device import degree_of
from metaem_core.federated.secure.messages import (
    KEYS,
    SEALED,
    SHARE,
    by_place_message,
    closing_message,
    keys_message,
    places_message,
    revealed_message,
    words_message,
)
from metaem_core.federated.secure.pretraining import broadcast, shapes_of
from metaem_core.models.metaem import DomainModel, flat
from metaem_core.models.mlp import init_mlp

# a layout, or FCF's item table: 32 or 8 numbers an item, whole or the requested rows
Way = Literal[
    "fcf-32", "fcf-8", "literal", "product", "secure", "fcf-32 rows", "fcf-8 rows", "rows"
]
WAYS: tuple[Way, ...] = get_args(Way)
VIRTUAL_RATINGS = 1  # for each rating, where only rows are sent


class DomainShape(NamedTuple):
    """What a round's bytes depend on."""

    items: int
    ratings: int  # of one device


def traffic(way: Way, domain: DomainShape, config: PretrainConfig) -> Traffic:
    """Bytes of one round of one device, without a transport's own framing."""
    some = min(domain.ratings * (1 + VIRTUAL_RATINGS), domain.items)
    rows = some if way.endswith("rows") else domain.items
    if way == "literal" or way == "product" or way == "rows" or way == "secure":
        return exchanged(way, rows, config)
    width = 32 if way.startswith("fcf-32") else 8
    table = len(encode({"items": torch.zeros(rows, width)}))
    return Traffic(table, table + (ID_BYTES * rows if way.endswith("rows") else 0))


def epoch_traffic(config: PretrainConfig, n_items: int, counts: Ints) -> Traffic:
    """Bytes of an epoch of pretraining, in which each device answers once.

    Args:
        counts: the items that each device trains on (m,).
    """
    rows = counts if config.payload == "rows" else np.full_like(counts, n_items)
    sizes, devices = np.unique(rows, return_counts=True)
    each = np.array([exchanged(config.payload, int(size), config) for size in sizes])  # (sizes, 2)
    return Traffic(*(each * devices[:, None]).sum(0).tolist())


def exchanged(layout: Layout, rows: int, config: PretrainConfig) -> Traffic:
    """Bytes of one device's round in which ``rows`` items are sent."""
    if layout == "secure":
        return secure_traffic(nobody(rows, config), config.cohort_size)
    codec = LayoutCodec(layout, torch.Generator())
    sent = codec.pack(_download(rows, config))
    received = codec.unpack(sent, config.relu_last)
    gradients = {name: tensors_of(received, name) for name in received.trained}
    answer = codec.answer(Upload(gradients, 0.0, 0))
    request = ID_BYTES * rows if layout == "rows" else 0
    return Traffic(len(encode(sent)), len(encode(answer)) + request)


def secure_traffic(model: DomainModel, devices: int) -> Traffic:
    """Bytes of one device's round when a cohort of ``devices`` is complete."""
    return masked_traffic(broadcast(model), shapes_of(model), devices)


def masked_traffic(message: Message, shapes: tuple[torch.Size, ...], devices: int) -> Traffic:
    """Bytes of one device's masked round, from its messages.

    Args:
        message: what every device is sent.
        shapes: of the sums.
        devices: that take part.
    """
    near = range(degree_of(devices))
    keys = by_place_message(dict.fromkeys(near, bytes(KEYS)), KEYS)
    sealed = by_place_message(dict.fromkeys(near, bytes(SEALED)), SEALED)
    sent, closing = encode(message), closing_message(Closing(0, 0.0))
    down = (keys, bytes(SUM), sealed, sent, places_message(near), closing)
    words = words_message(np.zeros(Coding(shapes, devices).words, np.uint32))
    revealed = revealed_message(Revealed(dict.fromkeys(near, bytes(SHARE)), {}))
    up = (keys_message(bytes(KEYS)), sealed, words, revealed)
    return Traffic(sum(map(len, down)), sum(map(len, up)))


def mapping_traffic(target: DomainModel, by_task: bool) -> tuple[Traffic, Traffic]:
    """Bytes of a round of the mapping for one device, and of what it is given once.

    Once is the target's frozen model; in a round ``u_hat^t`` travels and, where the rating task
    trains, the ``V^p`` made from it, and their gradients.
    """
    k_c, k_p = target.common_items.shape[1], target.item_tower[0].shape[1]
    vector = torch.zeros(1, target.user_embeddings.shape[1] + target.item_features.shape[1])
    sent = {"user_vectors": vector}
    if by_task:
        sent["private_items"] = torch.zeros(1, k_c, k_p)
    totals = {"squared_error": torch.zeros((), dtype=torch.float64), "n_ratings": torch.zeros(1)}
    model = {
        "common_items": target.common_items,
        "item_offsets": target.item_offsets,
        "item_features": target.item_features,
        **flat("item_tower", target.item_tower),
    }
    once = Traffic(len(encode(model)) if by_task else 0, 0)
    return Traffic(len(encode(sent)), len(encode({**sent, **totals}))), once


def nobody(rows: int, config: PretrainConfig) -> DomainModel:
    """A domain's shapes, without users."""
    features = ITEM_FEATURES if config.centred else 0
    deep = (config.hidden_size,) * 2
    hidden, draw = deep if config.base == "dnn" else (), torch.Generator()
    k_u, k_c, k_p = config.user_size, config.common_size, config.private_size
    return DomainModel(
        torch.zeros(0, k_u),
        torch.zeros(rows, k_c),
        torch.zeros(rows),
        torch.zeros(rows, features),
        torch.zeros(0, 0),
        init_mlp((k_u, *deep, k_c * k_p), draw, torch.float32),
        init_mlp((k_u, *hidden, k_u), draw, torch.float32),
        init_mlp((k_p, *hidden, k_u), draw, torch.float32),
        config.relu_last,
        config.meta_reads_raw,
        (torch.zeros(k_u),) if config.base == "gmf" else (),
    )


def received_contract(layout: OpenLayout, items: int, config: PretrainConfig) -> Contract:
    """The only form of message that a device of a domain with ``items`` items reads."""
    return contract_of(LayoutCodec(layout, torch.Generator()).pack(_download(items, config)))


def _download(rows: int, config: PretrainConfig) -> Download:
    model = nobody(rows, config)
    vector = torch.zeros(1, config.user_size + model.item_features.shape[1])
    download = Download.of(model, vector, frozenset(), torch.arange(rows))
    return download.replaced({"item_tower": ()} if config.item_tower == "personal" else {})
