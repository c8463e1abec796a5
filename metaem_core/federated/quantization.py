"""Eight-bit rows whose expectation is exact (stochastic rounding)."""

import torch
from torch import Tensor

LEVELS = 127


def to_int8(values: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each row as whole multiples of its own unit, rounded up or down at random without bias.

    Args:
        values: (..., k); a vector is one row.

    Returns:
        Multiples, int8 (..., k), and a unit a row (B,) in the type of ``values``.
    """
    units = values.abs().amax(-1, keepdim=True) / LEVELS
    exact = values / units.clamp_min(torch.finfo(values.dtype).tiny)
    noise = torch.rand(exact.shape, generator=draw, dtype=exact.dtype)
    return (exact + noise).floor_().clamp_(-LEVELS, LEVELS).to(torch.int8), units.flatten()


def from_int8(multiples: Tensor, units: Tensor) -> Tensor:
    """The values (..., k) that :func:`to_int8` stands for."""
    return multiples.to(units.dtype) * units.view(*multiples.shape[:-1], 1)


def through_int8(values: Tensor, draw: torch.Generator) -> Tensor:
    """What :func:`to_int8` and :func:`from_int8` make of ``values`` (..., k) on their way."""
    return from_int8(*to_int8(values, draw))
