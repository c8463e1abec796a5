"""Optimizers of embedding tables and networks, with the L2 term of Eq. 9."""

from copy import copy
from typing import Protocol

import torch
from torch import Tensor
from torch.optim.adam import adam

from metaem_core.models.mlp import Parameters
from metaem_core.training.row_adam import BETA1, BETA2, EPSILON

CURVATURE_BETA = 0.9


class Totals(Protocol):
    """A round's totals over its cohort, such as an upload has."""

    @property
    def squared_error(self) -> float: ...
    @property
    def n_ratings(self) -> int: ...


class LazyAdam:
    """Adam with moments and a step count for each row: a row not touched does not move.

    Bias correction counts a row's own updates, so the first step of a rare row has length
    ``learning_rate`` however late it comes. ``l2`` decays touched rows only.
    """

    def __init__(self, table: Tensor, learning_rate: float, l2: float) -> None:
        self.table, self.learning_rate, self.l2 = table, learning_rate, l2
        count = (len(table),) + (1,) * (table.dim() - 1)
        self.steps = torch.zeros(count, dtype=table.dtype)
        self.mean, self.square = torch.zeros_like(table), torch.zeros_like(table)

    def update(self, rows: Tensor, gradient: Tensor, totals: Totals | None = None) -> None:
        """One step of distinct ``rows`` (B,) by ``gradient`` (B, ...), by Kingma's Algorithm 1."""
        stores = self.state().values()
        values, mean, square, steps = (store.index_select(0, rows) for store in stores)
        gradient = gradient.add(values, alpha=self.l2)
        steps += 1
        mean.lerp_(gradient, 1 - BETA1)
        square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        root = (1 - BETA2**steps).sqrt_()
        scale = root / (1 - BETA1**steps)
        denominator = square.sqrt().add_(EPSILON * root)
        values.addcmul_(mean / denominator, scale, value=-self.learning_rate)
        for store, new in zip(stores, (values, mean, square, steps), strict=True):
            store.index_copy_(0, rows, new)

    def state(self) -> dict[str, Tensor]:
        """The tensors a checkpoint must keep, the table included."""
        return {"table": self.table, "mean": self.mean, "square": self.square, "steps": self.steps}


class NetworkAdam:
    """Adam over all networks of a server at once: it moves them into one flat buffer."""

    def __init__(self, parameters: Parameters, learning_rate: float, l2: float) -> None:
        self.learning_rate, self.l2 = learning_rate, l2
        self.flat = torch.cat([p.flatten() for p in parameters])
        parts = torch.split(self.flat, [p.numel() for p in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.data = part.view_as(parameter)
        self.mean, self.square = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        self.steps = torch.zeros(())

    def step(self, gradients: Parameters) -> None:
        """One step with one gradient a parameter, in their order."""
        gradient = torch.cat([g.flatten() for g in gradients])
        adam(
            [self.flat],
            [gradient],
            [self.mean],
            [self.square],
            [],
            [self.steps],
            fused=True,
            amsgrad=False,
            maximize=False,
            lr=self.learning_rate,
            beta1=BETA1,
            beta2=BETA2,
            eps=EPSILON,
            weight_decay=self.l2,
        )

    def state(self) -> dict[str, Tensor]:
        """The tensors a checkpoint must keep, the parameters included."""
        return {"flat": self.flat, "mean": self.mean, "square": self.square, "steps": self.steps}


class RowNewton:
    """Damped Gauss-Newton steps, one length a row: rows with few ratings move little.

    A row with ``n`` ratings in all minimises ``sum e^2 / 2 + sqrt(n) l2 / 2 |row|^2``. A round adds
    ``G = -sum e d`` over its own ratings, ``d`` the prediction's derivative by the row, and of the
    decay the share that an epoch's visits leave it; the step is ``learning_rate`` times that over
    ``n s + sqrt(n) l2``. The curvature ``s``, the mean of ``|d|^2``, is what the round shows of it:
    ``sum |G|^2 / sum e^2``, smoothed, and never less than the present round's. The decay does not
    depend on the size of the cohort; the curvature's estimate does a little.
    """

    def __init__(
        self, table: Tensor, learning_rate: float, l2: float, counts: Tensor, visits: Tensor
    ) -> None:
        """``counts`` and ``visits`` (m,): a row's ratings, and rounds an epoch that touch it."""
        self.table, self.learning_rate = table, learning_rate
        counts = counts.clamp_min(1).to(table.dtype)
        damping = l2 * counts.sqrt()
        decay = damping / visits.clamp_min(1).to(table.dtype)
        self._of_rows = torch.stack([counts, damping, decay], 1)  # (m, 3)
        self.curvature, self.rounds = table.new_zeros(()), table.new_zeros(())

    def update(self, rows: Tensor, gradient: Tensor, totals: Totals) -> None:
        """One step of distinct ``rows`` (B,) with the mean squared error's ``gradient`` (B, k)."""
        flat = gradient.flatten()
        squares = totals.n_ratings**2 * float(torch.dot(flat, flat))
        self.step(rows, gradient, totals.n_ratings, self.observe(squares, totals.squared_error))

    def observe(self, squares: float, squared_error: float) -> float:
        """The curvature, of a round whose summed squared error's gradient has these ``squares``."""
        seen = squares / 4 / max(squared_error, 1e-30)
        rounds = float(self.rounds) + 1
        smoothed = CURVATURE_BETA * float(self.curvature) + (1 - CURVATURE_BETA) * seen
        self.rounds.fill_(rounds)
        self.curvature.fill_(smoothed)
        seen_share: float = 1 - CURVATURE_BETA**rounds
        return max(smoothed / seen_share, seen)

    def step(self, rows: Tensor, gradient: Tensor, n_ratings: int, curvature: float) -> None:
        """:meth:`update` with the round's curvature known; G is half ``n_ratings`` gradients."""
        counts, damping, decay = self._of_rows.index_select(0, rows).unsqueeze(2).unbind(1)
        length = self.learning_rate / torch.add(damping, counts, alpha=curvature)
        values = self.table.index_select(0, rows)
        values.mul_(1 - decay * length).addcmul_(gradient, length, value=-n_ratings / 2)
        self.table.index_copy_(0, rows, values)

    def of_row(self, row: int, value: Tensor) -> "RowNewton":
        """The optimizer of one row, whose ``value`` (1, k) is kept elsewhere."""
        one = copy(self)
        one.table, one._of_rows = value, self._of_rows[row : row + 1]
        one.curvature, one.rounds = value.new_zeros(()), value.new_zeros(())
        return one

    def state(self) -> dict[str, Tensor]:
        """The tensors a checkpoint must keep, the table included."""
        return {"table": self.table, "curvature": self.curvature, "rounds": self.rounds}


TableOptimizer = RowNewton | LazyAdam
