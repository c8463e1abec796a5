"""Early stopping that can be checkpointed: keeps the best epoch's weights."""

import math

import torch
from torch import Tensor


class BestEpoch:
    """Remembers the tensors of the epoch with the lowest validation RMSE."""

    def __init__(self, live: dict[str, Tensor], patience: int) -> None:
        self.live, self.patience = live, patience
        self.best = {name: tensor.clone() for name, tensor in live.items()}
        self.rmse = torch.tensor(math.inf, dtype=torch.float64)
        self.since = torch.tensor(0)  # epochs since the best one

    def observe(self, rmse: float) -> None:
        """Take in one epoch's validation RMSE."""
        if rmse < float(self.rmse):
            restore(self.best, self.live)
            self.rmse.fill_(rmse)
            self.since.zero_()
        else:
            self.since += 1

    @property
    def exhausted(self) -> bool:
        """No better epoch for ``patience`` epochs."""
        return int(self.since) >= self.patience

    def state(self) -> dict[str, Tensor]:
        """The tensors a checkpoint must keep."""
        best = {f"best.{name}": tensor for name, tensor in self.best.items()}
        return {"rmse": self.rmse, "since": self.since, **best}


def restore(target: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    """Copy a saved state into the live tensors of the same names and shapes."""
    needs, holds = ({n: tuple(t.shape) for n, t in part.items()} for part in (target, saved))
    if needs != holds:
        raise ValueError(f"checkpoint holds tensors of shapes {holds}, the run needs {needs}")
    for name, tensor in target.items():
        tensor.copy_(saved[name])
