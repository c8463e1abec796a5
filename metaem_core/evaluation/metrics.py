"""MAE and RMSE, over rows and within users."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metaem_core.data.ratings import Ints

Reals = NDArray[np.floating]
Doubles = NDArray[np.float64]


def mae(predicted: Reals, actual: Reals) -> float:
    """Mean absolute error over rows."""
    return float(np.abs(row_errors(predicted, actual)).mean())


def rmse(predicted: Reals, actual: Reals) -> float:
    """Root of the mean squared error over rows."""
    return float(np.sqrt(np.square(row_errors(predicted, actual)).mean()))


@dataclass(frozen=True)
class UserErrors:
    """Errors of each user with at least one row (U,), users ascending."""

    users: Ints
    counts: Ints
    mae: Doubles
    mse: Doubles


def user_errors(users: Ints, predicted: Reals, actual: Reals) -> UserErrors:
    """MAE and MSE within each user; their count-weighted means are the row means."""
    error = row_errors(predicted, actual)
    named, position = np.unique(users, return_inverse=True)
    counts = np.bincount(position)
    return UserErrors(
        users=named,
        counts=counts,
        mae=np.bincount(position, weights=np.abs(error)) / counts,
        mse=np.bincount(position, weights=np.square(error)) / counts,
    )


def row_errors(predicted: Reals, actual: Reals) -> Doubles:
    """Prediction minus rating of each row (R,)."""
    if predicted.shape != actual.shape:
        raise ValueError(f"{predicted.shape} predictions for {actual.shape} ratings")
    if len(actual) == 0:
        raise ValueError("no ratings to score")
    require_finite(predicted)
    return predicted.astype(np.float64) - actual.astype(np.float64)


def require_finite(scores: Reals) -> None:
    """Refuse predictions that are NaN or infinite."""
    if bad := int((~np.isfinite(scores)).sum()):
        raise ValueError(f"{bad} of {scores.size} predictions are not finite")
