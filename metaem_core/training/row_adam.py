"""Exact Adam over a large table at the cost of the rows that a step touches."""

import torch
from torch import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
SETTLED = 20_000  # steps after which bias corrections are 1, and moments 0, in float32


class RowAdam:
    """Dense Adam (Kingma and Ba, Algorithm 1) in which idle rows catch up when they are read.

    Without a gradient a row's moments shrink by beta1 and beta2 a step, so after ``d`` idle steps
    from step ``t`` it has moved by ``-lr m / sqrt(v) (F(t) - D^d F(t + d))``, ``c`` being the bias
    correction, ``F(t) = sum_j D^j c(t + j)`` and ``D = beta1 / sqrt(beta2)``. ``l2`` decays the
    rows a step touches. A row's value and moments lie side by side: it is fetched once.
    """

    def __init__(self, start: Tensor, learning_rate: float, l2: float = 0.0) -> None:
        n, k = start.shape
        self._rows = start.new_zeros(n, 3 * k + 1)  # value, mean, square, step it is current at
        self.table = self._rows[:, :k]
        self.table.copy_(start)
        self.learning_rate, self.l2, self.steps = learning_rate, l2, 0
        self._slot = torch.zeros(n, dtype=torch.long)
        self._shrink, self._reach = _shrink(start.dtype), _reach(start.dtype)

    def read(self, rows: Tensor) -> Tensor:
        """The current values (B, k) of ``rows`` (B,), which may repeat."""
        k = self.table.shape[1]
        fetched = self._rows.index_select(0, rows)
        value, mean, square, seen = torch.split(fetched, [k, k, k, 1], 1)
        then = seen.flatten().long()
        idle = (self.steps - then).clamp_max_(SETTLED)
        slow, fast, half = torch.split(self._shrink.index_select(0, idle), 1, 1)
        past = self._reach.index_select(0, then.clamp_max_(SETTLED)) * half
        square = square * fast
        root = square.sqrt().add_(past[:, 1:])
        moved = past[:, :1] - slow * self._reach[min(self.steps, SETTLED), 0]
        value = (mean * moved).div_(root).mul_(-self.learning_rate).add_(value)
        self._read = rows, value, mean * slow, square
        return value

    def step(self, gradient: Tensor) -> None:
        """One step by ``gradient`` (B, k) of what was read last; that of repeats adds up."""
        rows, value, mean, square = self._read
        self._slot.index_copy_(0, rows, torch.arange(len(rows)))
        first = self._slot.index_select(0, rows)  # one place for all repeats of a row
        together = torch.zeros_like(value).index_add_(0, first, gradient).index_select(0, first)
        if self.l2:
            together.add_(value, alpha=self.l2)
        self.steps += 1
        mean.lerp_(together, 1 - BETA1)
        square.mul_(BETA2).addcmul_(together, together, value=1 - BETA2)
        root = (1 - BETA2**self.steps) ** 0.5
        length = self.learning_rate * root / (1 - BETA1**self.steps)
        value = value.addcdiv(mean, square.sqrt().add_(EPSILON * root), value=-length)
        self._write(rows, value, mean, square)

    def settle(self) -> None:
        """Bring every row up to date, so that ``table`` can be read as a whole."""
        self.read(torch.arange(len(self.table)))
        self._write(*self._read)

    def _write(self, rows: Tensor, value: Tensor, mean: Tensor, square: Tensor) -> None:
        seen = value.new_full((len(rows), 1), self.steps)
        self._rows.index_copy_(0, rows, torch.cat([value, mean, square, seen], 1))


def _shrink(dtype: torch.dtype) -> Tensor:
    """beta1^d, beta2^d and sqrt(beta2)^d for d = 0 .. SETTLED idle steps."""
    factors = torch.tensor([BETA1, BETA2, BETA2**0.5], dtype=torch.float64)
    shrunk: Tensor = factors ** torch.arange(SETTLED + 1).unsqueeze(1)
    return shrunk.to(dtype)


def _reach(dtype: torch.dtype) -> Tensor:
    """F(t) and epsilon's part beside sqrt(v), for t = 0 .. SETTLED.

    ``F(t) = D (c(t + 1) + F(t + 1))``. An idle row keeps the epsilon of its first idle step: next
    to gradients of 1e-5 that is one part in a thousand of its movement.
    """
    decay = BETA1 / BETA2**0.5
    t = torch.arange(1, SETTLED + 2, dtype=torch.float64)
    correction = (1 - BETA2**t).sqrt() / (1 - BETA1**t)  # c(1) ... c(SETTLED + 1)
    reach, ahead = [], decay / (1 - decay)
    for c in reversed(correction.tolist()):
        ahead = decay * (c + ahead)
        reach.append(ahead)
    small = EPSILON * (1 - BETA2**t).sqrt()
    return torch.stack([torch.tensor(reach[::-1], dtype=torch.float64), small], 1).to(dtype)
