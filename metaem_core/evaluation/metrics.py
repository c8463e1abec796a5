"""MAE and RMSE: over rows, within users, and by group.

Groups are by the length of a user's source history, or an item's popularity in the target.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metaem_core.data.ratings import Ints

Reals = NDArray[np.floating]
Doubles = NDArray[np.float64]

STARTS = (0, 1, 5, 10, 20, 50)  # the fewest ratings of each group
GROUPS = ("0", "1-4", "5-9", "10-19", "20-49", "50+")


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


def group_of(counts: Ints) -> Ints:
    """The position in GROUPS (R,) of each number of ratings."""
    return np.searchsorted(STARTS, counts, side="right").astype(np.int64) - 1


def group_errors(
    groups: Ints, users: Ints, predicted: Reals, actual: Reals
) -> dict[str, Ints | Doubles]:
    """Errors of rows (R,) by the position in GROUPS that each row has.

    Returns:
        Sums (G,), empty groups included: users and ratings of the group, absolute and squared
        errors of its ratings, MAE of its users within the group.
    """
    pairs = user_errors(users * len(GROUPS) + groups, predicted, actual)
    group = pairs.users % len(GROUPS)

    def summed(values: Doubles) -> Doubles:
        return np.bincount(group, weights=values, minlength=len(GROUPS)).astype(np.float64)

    return {
        "users": np.bincount(group, minlength=len(GROUPS)),
        "ratings": summed(pairs.counts.astype(np.float64)).astype(np.int64),
        "absolute": summed(pairs.counts * pairs.mae),
        "squared": summed(pairs.counts * pairs.mse),
        "user_mae": summed(pairs.mae),
    }


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
