"""The device's side of rounds over a network: bytes in, bytes out."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metaem_core.data.ratings import RatingScale
from metaem_core.federated.device import PrivateRatings, device_step
from metaem_core.federated.encoding import Contract, decode, encode
from metaem_core.federated.layouts import LayoutCodec
from metaem_core.federated.private import Private
from metaem_core.models.forward import predict

# sums of absolute and squared errors, and of how many ratings
ERRORS: Contract = {"errors": (torch.float64, (3,))}
KEPT = {"kept": torch.ones(1)}  # the answer to something that a device is to keep


@dataclass(frozen=True, repr=False)
class StoredRatings(Private):
    """One domain's ratings as their device keeps them."""

    items: Tensor  # (R,)
    values: Tensor  # (R,)
    held: Tensor  # (R,) whether a rating is kept out of training


def errors_answer(
    message: bytes,
    contract: Contract,
    own: StoredRatings,
    codec: LayoutCodec,
    relu_last: bool,
    scale: RatingScale,
) -> bytes:
    """Device: sums of its absolute and squared errors on the ratings it keeps out of training."""
    received = codec.unpack(decode(message, contract), relu_last)
    items, values = own.items[own.held], own.values[own.held]
    return summed_errors(predict(received, torch.zeros_like(items), items), values, scale)


def summed_errors(predicted: Tensor, values: Tensor, scale: RatingScale) -> bytes:
    """Device: the sums that it sends of its errors (R,)."""
    error = predicted.clamp(scale.low, scale.high) - values
    absolute, squared = float(error.abs().sum()), float(error.square().sum())
    return encode({"errors": torch.tensor([absolute, squared, len(values)], dtype=torch.float64)})


def step_answer(
    message: bytes,
    contract: Contract,
    rows: Tensor,
    values: Tensor,
    codec: LayoutCodec,
    relu_last: bool,
) -> bytes:
    """The device's side of a round, bytes in and bytes out: Algorithm 1, lines 6 to 9.

    Args:
        contract: the only form of message it reads.
        rows: the message's row of each of its ratings (R,).
        values: its ratings (R,).
    """
    received = codec.unpack(decode(message, contract), relu_last)
    upload = device_step(received, PrivateRatings(torch.zeros_like(rows), rows, values))
    return encode(codec.answer(upload))
