"""The habit line: what a user's profile says of how they rate, learnt within a domain.

The profile of one half of a user's ratings predicts their other half, both ways. All users of a
domain take part, so the line is known well even where few users are in both domains. Between
domains little more than its slope has to be learnt (mapping_start.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metaem_core.data.bias import Biases, fitted_biases, leave_one_out
from metaem_core.data.ratings import Floats, Ints, Ratings, held_chance
from metaem_core.data.user_profile import ITEM_FEATURES, PROFILE_SIZE, ItemScale, ProfileStatistics
from metaem_core.evaluation.metrics import Doubles
from metaem_core.methods.metaem.evidence import Products, averaged_ridge, fold_of

SEED = 0  # of the halves and the folds, the same on every device
AT_ONCE = 1 << 17  # ratings whose regressors are in memory
LINE_SIZE = ITEM_FEATURES * (1 + PROFILE_SIZE)
FREE = 2  # columns of a line that nothing damps: the constant and the user's bias


def regressors(features: Floats, profiles: Floats) -> Doubles:
    """Each item feature times a one and the profile: (R, 3) and (R, 11) -> (R, 36)."""
    known = np.column_stack([np.ones(len(profiles)), profiles])
    products = features[:, :, None] * known[:, None, :]
    return np.asarray(products.reshape(len(features), LINE_SIZE), np.float64)


@dataclass(frozen=True)
class HabitView:
    """What a domain publishes, by which a device computes its part of the line."""

    statistics: ProfileStatistics
    scale: ItemScale
    counts: Ints  # ratings of each item (n,)
    damping: float  # of item biases
    user_damping: float
    centre: Doubles  # of the profiles (11,)
    deviation: Doubles  # of the profiles (11,)

    @classmethod
    def of(cls, ratings: Ratings, biases: Biases) -> "HabitView":
        """Of a domain's training ratings."""
        statistics = ProfileStatistics.of(ratings, biases)
        rated = np.bincount(ratings.users, minlength=ratings.n_users) > 0
        profiles = statistics.profiles(ratings, biases.user)[rated].astype(np.float64)
        return cls(
            statistics,
            ItemScale.of(ratings, biases),
            np.bincount(ratings.items, minlength=ratings.n_items),
            biases.item_damping,
            biases.user_damping,
            profiles.mean(0),
            profiles.std(0).clip(1e-6),
        )

    def products(self, own: Ratings, numbers: Ints) -> Products:
        """Of users with these ratings; ``numbers`` (n_users,) are theirs in the domain."""
        first = held_chance(numbers[own.users], own.items, SEED) < 0.5
        bias, folds = self.statistics.user_bias(own), fold_of(numbers, SEED)
        rows = [self._half(own, bias, seen) for seen in (first, ~first)]
        x, y, users = (np.concatenate(parts) for parts in zip(*rows, strict=True))
        return Products.of(x, y, users, folds[users])

    def _half(
        self, own: Ratings, bias: Floats, seen: NDArray[np.bool_]
    ) -> tuple[Doubles, Doubles, Ints]:
        """The profile of the ratings ``seen`` (R,) against the others: X, y and users."""
        half, statistics = own.where(seen), self.statistics
        profiles = statistics.profiles(half, statistics.user_bias(half))
        known = np.bincount(half.users, minlength=own.n_users) > 0
        rest = own.where(~seen & known[own.users])
        item, counts = statistics.item_bias[rest.items], self.counts[rest.items]
        above = rest.values - statistics.mean
        left = leave_one_out(item, counts, above - bias[rest.users], self.damping)
        features = self.scale.features(left, counts - 1)
        standard = ((profiles[rest.users] - self.centre) / self.deviation).astype(np.float32)
        return regressors(features, standard), (above - left).astype(np.float64), rest.users


def habit_line(ratings: Ratings, biases: Biases | None = None) -> Doubles:
    """The weights (36,) of :func:`regressors` of standardised profiles, in one domain."""
    biases = biases or fitted_biases(ratings)
    view = HabitView.of(ratings, biases)
    products = Products.summed(view.products(*block) for block in _blocks(ratings))
    return averaged_ridge(products, FREE, products.design_effect(biases.user_damping))


def _blocks(ratings: Ratings) -> Iterator[tuple[Ratings, Ints]]:
    """Users in blocks of some AT_ONCE ratings, with their numbers."""
    ends = np.bincount(ratings.users, minlength=ratings.n_users).cumsum()
    first = 0
    while first < ratings.n_users:
        start = int(ends[first - 1]) if first else 0
        last = max(int(np.searchsorted(ends, start + AT_ONCE, side="right")), first + 1)
        rows = slice(start, int(ends[last - 1]))
        users = ratings.users[rows] - first
        items, values = ratings.items[rows], ratings.values[rows]
        block = Ratings(users, items, values, last - first, ratings.n_items)
        yield block, np.arange(first, last)
        first = last
