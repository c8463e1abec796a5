"""What every training loop reports of an epoch, and early stopping at the best one."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from metaem_core.data.ratings import Floats, RatingScale
from metaem_core.evaluation.metrics import mae, rmse


class Errors(NamedTuple):
    """Errors on ratings that training does not see, predictions clipped to the scale."""

    mae: float
    rmse: float


class EpochStats(NamedTuple):
    """One epoch of a stage."""

    epoch: int
    loss: float  # mean squared error of the rounds, before their steps
    validation_mae: float
    validation_rmse: float
    n_ratings: int

    @property
    def news(self) -> str:
        """How it went, in words."""
        if math.isnan(self.validation_rmse):
            return f"loss {self.loss:.4f}"
        return f"validation RMSE {self.validation_rmse:.4f}"


class Divergence(ValueError):
    """The loss is no longer finite."""


def clipped_errors(predicted: Tensor, values: Floats, scale: RatingScale) -> Errors:
    if not bool(predicted.isfinite().all()):
        return Errors(math.nan, math.nan)
    clipped = predicted.clamp(scale.low, scale.high).numpy()
    return Errors(mae(clipped, values), rmse(clipped, values))


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
