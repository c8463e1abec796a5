"""What every training loop reports of an epoch."""

import math
from typing import NamedTuple

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


class Divergence(ValueError):
    """The loss is no longer finite."""


def clipped_errors(predicted: Tensor, values: Floats, scale: RatingScale) -> Errors:
    if not bool(predicted.isfinite().all()):
        return Errors(math.nan, math.nan)
    clipped = predicted.clamp(scale.low, scale.high).numpy()
    return Errors(mae(clipped, values), rmse(clipped, values))
