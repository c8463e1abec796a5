"""Errors by group: length of the user's source history, popularity of the item in the target."""

import numpy as np

from metaem_core.data.ratings import Ints
from metaem_core.evaluation.metrics import Doubles, Reals, user_errors

STARTS = (0, 1, 5, 10, 20, 50)  # the fewest ratings of each group
GROUPS = ("0", "1-4", "5-9", "10-19", "20-49", "50+")


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
