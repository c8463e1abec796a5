"""A domain's ratings in memory, their scale, and the hold-out for early stopping."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class RatingScale:
    """The values a rating may take: ``low``, ``low + step``, ..., ``high``."""

    low: float = 1.0
    high: float = 5.0
    step: float = 1.0

    def __post_init__(self) -> None:
        if not (self.low < self.high and self.step > 0):
            raise ValueError(f"rating scale needs low < high and step > 0, got {self!r}")
        steps = (self.high - self.low) / self.step
        if not min(steps % 1, -steps % 1) < 1e-6:
            raise ValueError(f"rating scale needs whole steps from low to high, got {self!r}")


@dataclass(frozen=True)
class Ratings:
    """A domain's rating matrix R as triples (R,) sorted by (user, item).

    ``users`` and ``items`` are dense indices below ``n_users`` and ``n_items``; a user or item may
    have no rating (a held-out user keeps their index).
    """

    users: Ints
    items: Ints
    values: Floats
    n_users: int
    n_items: int

    def __post_init__(self) -> None:
        if not len(self.users) == len(self.items) == len(self.values):
            raise ValueError(
                f"users, items and values differ in length: "
                f"{len(self.users)}, {len(self.items)}, {len(self.values)}"
            )

    def __len__(self) -> int:
        return len(self.values)

    def of_users(self, keep: NDArray[np.bool_]) -> "Ratings":
        """The ratings of the users marked in ``keep`` (n_users,); indices stay as they are."""
        return self.where(keep[self.users])

    def where(self, rows: NDArray[np.bool_] | Ints) -> "Ratings":
        """The ratings marked in ``rows`` (R,), or at these positions; indices stay as they are."""
        return Ratings(
            self.users[rows], self.items[rows], self.values[rows], self.n_users, self.n_items
        )


def liked(ratings: Ratings, scale: RatingScale) -> Ratings:
    """The ratings above the scale's middle: 4 and 5 of 1 to 5."""
    return ratings.where(above_middle(ratings.values, scale))


def above_middle(values: Floats, scale: RatingScale) -> NDArray[np.bool_]:
    """Which ratings (R,) are above the scale's middle."""
    return np.asarray(values > (scale.low + scale.high) / 2)


def hold_out(ratings: Ratings, share: float, seed: int) -> tuple[Ratings, Ratings]:
    """Ratings to train on and ratings to stop by: at least one of any share."""
    chance = held_chance(ratings.users, ratings.items, seed)
    held = chance < max(share, chance.min(initial=1) * 1.0001) if share > 0 else chance < 0
    return ratings.where(~held), ratings.where(held)


def held_chance(users: Ints, items: Ints, seed: int) -> NDArray[np.float64]:
    """A number in [0, 1) for each rating (R,), by which its device decides whether to hold it out.

    It depends on nothing but the rating's user, item and ``seed``: SplitMix64 (Steele et al. 2014)
    of one after the other.
    """
    state = np.full(len(users), seed, np.uint64)
    for part in (users, items):
        state = (state ^ part.astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return np.asarray(state >> np.uint64(11), np.float64) * 2.0**-53
