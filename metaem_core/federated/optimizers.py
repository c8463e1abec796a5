"""Adam for embedding tables (a row at a time) and for networks, with the L2 term of Eq. 9."""

from collections.abc import Sequence

import torch
from torch import Tensor

from metaem_core.models.mlp import Parameters

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class LazyAdam:
    """Adam in which each row of a table lives its own life: a row not touched does not move.

    Bias correction counts a row's own updates, so the first step of a rare row has length
    ``learning_rate`` however late it comes. ``l2`` decays touched rows only.
    """

    def __init__(self, table: Tensor, learning_rate: float, l2: float) -> None:
        self.table, self.learning_rate, self.l2 = table, learning_rate, l2
        self.mean = torch.zeros_like(table)
        self.square = torch.zeros_like(table)
        self.steps = torch.zeros(len(table), dtype=torch.long)

    def update(self, rows: Tensor, gradient: Tensor) -> None:
        """One Adam step on distinct ``rows`` (B,) with ``gradient`` (B, ...)."""
        values = self.table.index_select(0, rows)
        gradient = gradient.add(values, alpha=self.l2)
        steps = self.steps.index_select(0, rows) + 1
        mean = self.mean.index_select(0, rows).lerp_(gradient, 1 - BETA1)
        square = self.square.index_select(0, rows).mul_(BETA2)
        square.addcmul_(gradient, gradient, value=1 - BETA2)
        shape = (-1,) + (1,) * (self.table.dim() - 1)
        count = steps.to(self.table.dtype).view(shape)
        scale = (1 - BETA2**count).sqrt_() / (1 - BETA1**count)
        denominator = square.sqrt().add_(EPSILON * (1 - BETA2**count).sqrt_())
        values.addcmul_(mean / denominator, scale, value=-self.learning_rate)
        for store, new in (
            (self.table, values),
            (self.mean, mean),
            (self.square, square),
            (self.steps, steps),
        ):
            store.index_copy_(0, rows, new)

    def state(self) -> dict[str, Tensor]:
        """The tensors a checkpoint must keep, the table included."""
        return {"table": self.table, "mean": self.mean, "square": self.square, "steps": self.steps}


class DenseAdam:
    """Textbook Adam over whole tensors: every entry moves and decays at every step."""

    def __init__(self, tensors: Sequence[Tensor], learning_rate: float, l2: float) -> None:
        self.tensors, self.l2 = tuple(tensors), l2
        self.adam = torch.optim.Adam(self.tensors, lr=learning_rate, weight_decay=l2, fused=True)
        for tensor in self.tensors:
            self.adam.state[tensor] = {
                "step": torch.zeros(()),
                "exp_avg": torch.zeros_like(tensor),
                "exp_avg_sq": torch.zeros_like(tensor),
            }

    def step(self, gradients: Parameters) -> None:
        """One step with one gradient a tensor."""
        for tensor, gradient in zip(self.tensors, gradients, strict=True):
            tensor.grad = gradient
        self.adam.step()

    def update(self, rows: Tensor, gradient: Tensor) -> None:
        """One step of the only tensor, a table, whose gradient is zero outside ``rows``."""
        (table,) = self.tensors
        self.step((torch.zeros_like(table).index_copy_(0, rows, gradient),))

    def state(self) -> dict[str, Tensor]:
        """The tensors a checkpoint must keep, the parameters included."""
        state: dict[str, Tensor] = {}
        for i, tensor in enumerate(self.tensors):
            moments = self.adam.state[tensor]
            state |= {f"{i}": tensor, f"{i}.step": moments["step"]}
            state |= {f"{i}.mean": moments["exp_avg"], f"{i}.square": moments["exp_avg_sq"]}
        return state


RowOptimizer = LazyAdam | DenseAdam


def restore(target: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    """Copy a saved state into the live tensors of the same names."""
    if target.keys() != saved.keys():
        raise ValueError(f"checkpoint holds {sorted(saved)}, the run needs {sorted(target)}")
    for name, tensor in target.items():
        if tensor.shape != saved[name].shape:
            raise ValueError(
                f"checkpoint tensor {name!r} has shape {tuple(saved[name].shape)}, "
                f"the run needs {tuple(tensor.shape)}"
            )
        tensor.copy_(saved[name])
