"""Adam over a large table at the cost of the rows that a step touches, and still exact."""

import torch
from torch import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
DECAY = BETA1 / BETA2**0.5  # of an idle row's movement from step to step
SETTLED = 20_000  # steps after which both bias corrections are 1 in float32


class RowAdam:
    """Dense Adam (Kingma and Ba, Algorithm 1) in which idle rows catch up when they are read.

    Without a gradient a row's moments shrink by beta1 and beta2 a step, so after ``d`` idle steps
    from step ``t`` it has moved by ``-lr m / sqrt(v) (F(t) - DECAY^d F(t + d))`` where
    ``F(t) = sum_j DECAY^j c(t + j)`` and ``c`` is the bias correction. ``l2`` decays the rows a
    step touches.
    """

    def __init__(self, table: Tensor, learning_rate: float, l2: float = 0.0) -> None:
        self.table, self.learning_rate, self.l2 = table, learning_rate, l2
        self.mean, self.square = torch.zeros_like(table), torch.zeros_like(table)
        self.seen = torch.zeros(len(table), dtype=torch.long)  # step each row was last current at
        self.steps = 0
        self._reach = _reach(table.dtype)

    def read(self, rows: Tensor) -> Tensor:
        """The current values (B, k) of distinct ``rows`` (B,)."""
        seen = self.seen.index_select(0, rows)
        idle = (self.steps - seen).unsqueeze(1).to(self.table.dtype)
        now = self._reach[min(self.steps, SETTLED)]
        before = self._reach.index_select(0, seen.clamp_max(SETTLED)).unsqueeze(1)
        moved = self.learning_rate * (before - DECAY**idle * now)
        mean, square = self.mean.index_select(0, rows), self.square.index_select(0, rows)
        values = self.table.index_select(0, rows)
        values.addcmul_(mean / (square.sqrt() + EPSILON), moved, value=-1)
        self._moments = mean.mul_(BETA1**idle), square.mul_(BETA2**idle)
        return values

    def step(self, rows: Tensor, values: Tensor, gradient: Tensor) -> None:
        """One step of what :meth:`read` just gave for ``rows``, with ``gradient`` (B, k)."""
        if self.l2:
            gradient = gradient.add(values, alpha=self.l2)
        self.steps += 1
        mean, square = self._moments
        mean.lerp_(gradient, 1 - BETA1)
        square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        root = (1 - BETA2**self.steps) ** 0.5
        length = self.learning_rate * root / (1 - BETA1**self.steps)
        values = values.addcdiv(mean, square.sqrt().add_(EPSILON * root), value=-length)
        for store, new in ((self.table, values), (self.mean, mean), (self.square, square)):
            store.index_copy_(0, rows, new)
        self.seen.index_fill_(0, rows, self.steps)

    def settle(self) -> None:
        """Bring every row up to date, so that ``table`` can be read as a whole."""
        rows = torch.arange(len(self.table))
        self.table.copy_(self.read(rows))
        self.mean, self.square = self._moments
        self.seen.fill_(self.steps)


def _reach(dtype: torch.dtype) -> Tensor:
    """F(t) for t = 0 .. SETTLED, from its recursion F(t) = DECAY (c(t + 1) + F(t + 1))."""
    t = torch.arange(1, SETTLED + 2, dtype=torch.float64)
    correction = (1 - BETA2**t).sqrt() / (1 - BETA1**t)  # c(1) ... c(SETTLED + 1)
    reach, ahead = [], DECAY / (1 - DECAY)
    for c in reversed(correction.tolist()):
        ahead = DECAY * (c + ahead)
        reach.append(ahead)
    return torch.tensor(reach[::-1], dtype=dtype)
