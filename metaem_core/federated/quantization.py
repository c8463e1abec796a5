"""Eight-bit rows whose expectation is exact (stochastic rounding)."""

import torch
from torch import Tensor

LEVELS = 127


def to_int8(values: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each row as whole multiples of its own unit, rounded up or down at random without bias.

    Args:
        values: (B, k).

    Returns:
        Multiples, int8 (B, k), and the units (B,) in the type of ``values``.
    """
    units = values.abs().amax(1) / LEVELS
    exact = values / units.clamp_min(torch.finfo(values.dtype).tiny).unsqueeze(1)
    noise = torch.rand(exact.shape, generator=draw, dtype=exact.dtype)
    return (exact + noise).floor_().clamp_(-LEVELS, LEVELS).to(torch.int8), units


class Rounding:
    """What :func:`to_int8` and :func:`from_int8` make of numbers on their way."""

    def __init__(self, draw: torch.Generator) -> None:
        self.draw = draw

    def __call__(self, values: Tensor) -> Tensor:
        """``values`` (..., k), each row rounded to whole multiples of its own unit."""
        rows = values.view(-1, values.shape[-1])
        return from_int8(*to_int8(rows, self.draw)).view_as(values)


def from_int8(multiples: Tensor, units: Tensor) -> Tensor:
    """The values (B, k) that :func:`to_int8` stands for."""
    return multiples.to(units.dtype) * units.unsqueeze(1)
