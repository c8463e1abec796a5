"""Early stopping that can be checkpointed: keeps the best epoch's weights."""

import math

import torch
from torch import Tensor

from metaem_core.training.optimizers import restore


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
        return {"rmse": self.rmse, "since": self.since, **_prefixed("best", self.best)}


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}
