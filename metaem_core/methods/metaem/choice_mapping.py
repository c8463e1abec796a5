"""MetaEM's half of choice, stage 2: the mapping between two domains (Algorithm 2), in closed form.

The start is distance-oriented, a ridge from source features to target vectors (Eq. 12). After it
comes the rating task's counterpart, what the overlap's users chose (Eqs. 13 and 14 with ones for
choices): a ridge from the same features to what the start leaves of their choices, item by item,
damped towards the start. Both need three sums over the devices of the training overlap.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from metaem_core.models.choice_mapping import ChoiceScorer, OverlapSums


@dataclass(frozen=True)
class Start:
    """The distance-oriented mapping of one size."""

    weights: Tensor  # W (1 + size, size)
    inverse: Tensor  # (F'F + ridge)^-1
    items: Tensor  # target items along its directions (n, size)
    gain: float  # of u W . v_j as a prediction of choices

    def single(self) -> "Start":
        """In float32."""
        tensors = self.weights.float(), self.inverse.float(), self.items.float()
        return Start(*tensors, self.gain)


@dataclass(frozen=True)
class Residual:
    """What a ridge adds to the start of the same size."""

    table: Tensor  # (n, 1 + size)
    inverse: Tensor

    def single(self) -> "Residual":
        """In float32."""
        return Residual(self.table.float(), self.inverse.float())


def fit_start(sums: OverlapSums, items: Tensor, size: int, damping: float) -> Start:
    """``W = argmin |F W - U|^2 + ridge |W|^2``, the constant not damped.

    Args:
        items: target items along its directions (n, k).
        damping: of a feature, in per cent of the overlap's users.
    """
    wide = 1 + size
    square, items = sums.square[:wide, :wide], items[:, :size]
    ridge = torch.full((wide,), damping / 100 * sums.n_users, dtype=square.dtype)
    ridge[0] = 1e-9 * sums.n_users
    inverse = torch.linalg.inv(square + ridge.diag())
    weights = inverse @ sums.cross[:wide, :size]
    agreement = ((sums.chosen[:, :wide] @ weights) * items).sum()
    predicted = ((weights.T @ square @ weights) * (items.T @ items)).sum()
    return Start(weights, inverse, items, float(agreement / predicted))


def fit_residual(sums: OverlapSums, start: Start, damping: float) -> Residual:
    """``B = argmin |Y - gain F W V' - F B|^2 + damping |B|^2`` for the choices Y."""
    wide = len(start.weights)
    square = sums.square[:wide, :wide]
    left = sums.chosen[:, :wide] - start.gain * start.items @ (start.weights.T @ square)
    inverse = torch.linalg.inv(square + damping * torch.eye(wide, dtype=square.dtype))
    return Residual(left @ inverse, inverse)


def scorer(starts: list[Start], residuals: list[Residual]) -> ChoiceScorer:
    """Of all sizes; without ``residuals`` the distance-oriented mappings alone."""
    tables = [start.items @ start.weights.T for start in starts]
    if residuals:
        pairs = zip(tables, starts, residuals, strict=True)
        tables = [start.gain * table + residual.table for table, start, residual in pairs]
    return ChoiceScorer.of([table.float() for table in tables])
