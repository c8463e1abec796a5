"""Gradients and totals as words that a cohort's devices can add up."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metaem_core.federated.secure.primitives import Words

LIMIT = 256.0  # largest number that a device's gradient may hold; larger ones shrink as a whole
MOST = 2**16  # devices whose limbs fit a word
LIMBS = 4  # words of 16 bits that carry a total
FRACTION = 2.0**-16  # unit of a total


class Totals(NamedTuple):
    """What the cohort's devices add up beside the gradient."""

    squared_error: float
    n_ratings: float
    squares: float  # of the gradients by the user vectors


class Closing(NamedTuple):
    """What a device needs to step its own vector."""

    n_ratings: int
    curvature: float


def bounded(gradients: list[Tensor], limit: float | None = None) -> tuple[list[Tensor], float]:
    """The gradients with no number beyond the limit, shrunk as a whole, and by how much."""
    largest = max(float(each.abs().max()) for each in gradients if each.numel())
    limit = limit or LIMIT
    shrink = limit / max(largest, limit)
    return [gradient * shrink for gradient in gradients], shrink


@dataclass(frozen=True)
class Coding:
    """How a gradient and totals become words that ``devices`` many devices can add up."""

    shapes: tuple[torch.Size, ...]
    devices: int
    limit: float = LIMIT  # largest number of a device

    @property
    def unit(self) -> float:
        if not 0 < self.devices < MOST:
            raise ValueError(f"a cohort has 1 to {MOST - 1} devices, got {self.devices}")
        return self.limit * self.devices / (2**31 - self.devices)

    @property
    def words(self) -> int:
        return sum(shape.numel() for shape in self.shapes) + LIMBS * len(Totals._fields)

    def encode(self, gradients: list[Tensor], totals: Totals, draw: np.random.Generator) -> Words:
        """Words (W,); a number between two multiples goes to either, right in the mean."""
        flat = torch.cat([gradient.flatten() for gradient in gradients]).double().numpy()
        whole = np.floor(flat / self.unit + draw.random(len(flat), np.float32))
        sums = np.array([round(total / FRACTION) for total in totals], np.uint64)
        limbs = sums[:, None] >> np.arange(0, 16 * LIMBS, 16, dtype=np.uint64) & np.uint64(0xFFFF)
        return np.concatenate([to_words(whole, self.devices), limbs.astype(np.uint32).ravel()])

    def decode(self, total: Words) -> tuple[list[Tensor], Totals]:
        """The sums that the words of a cohort add up to."""
        cut = len(total) - LIMBS * len(Totals._fields)
        flat = torch.from_numpy(from_words(total[:cut]) * self.unit)
        parts = torch.split(flat, [shape.numel() for shape in self.shapes])
        limbs: NDArray[np.float64] = total[cut:].reshape(-1, LIMBS) @ 2.0 ** np.arange(
            0, 16 * LIMBS, 16
        )
        gradients = [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]
        return gradients, Totals(*(limbs * FRACTION).tolist())


def to_words(whole: NDArray[np.floating], devices: int) -> Words:
    """Whole numbers modulo 2^32, of which ``devices`` many can be added.

    Raises:
        ValueError: a number so large that a sum could overflow.
    """
    if not np.abs(whole).max(initial=0) < (largest := 2**31 / devices):
        raise ValueError(f"a value is not below {largest:g} units in size: clip, or enlarge them")
    words: Words = whole.astype(np.int64).astype(np.uint32)
    return words


def from_words(total: Words) -> NDArray[np.float64]:
    """The sum that :func:`to_words`' results add up to."""
    return total.astype(np.int32).astype(np.float64)
