"""Errors by group: length of the user's source history, popularity of the item in the target."""

from dataclasses import dataclass

import numpy as np

from metaem_core.data.ratings import Ints
from metaem_core.evaluation.metrics import Doubles, Reals, user_errors

STARTS = (0, 1, 5, 10, 20, 50)  # the fewest ratings of each group
GROUPS = ("0", "1-4", "5-9", "10-19", "20-49", "50+")


@dataclass(frozen=True)
class GroupErrors:
    """Sums over the rows of each group, empty groups included; all (G,)."""

    users: Ints  # with a row in the group
    ratings: Ints
    absolute: Doubles  # of |e|
    squared: Doubles  # of e^2
    user_mae: Doubles  # of the users' MAE within the group


def group_of(counts: Ints) -> Ints:
    """The position in GROUPS (R,) of each number of ratings."""
    return np.searchsorted(STARTS, counts, side="right").astype(np.int64) - 1


def group_errors(groups: Ints, users: Ints, predicted: Reals, actual: Reals) -> GroupErrors:
    """Errors of rows (R,) by the position in GROUPS that each row has."""
    pairs = user_errors(users * len(GROUPS) + groups, predicted, actual)
    group = pairs.users % len(GROUPS)

    def summed(values: Doubles) -> Doubles:
        return np.bincount(group, weights=values, minlength=len(GROUPS)).astype(np.float64)

    return GroupErrors(
        users=np.bincount(group, minlength=len(GROUPS)),
        ratings=summed(pairs.counts.astype(np.float64)).astype(np.int64),
        absolute=summed(pairs.counts * pairs.mae),
        squared=summed(pairs.counts * pairs.mse),
        user_mae=summed(pairs.mae),
    )
