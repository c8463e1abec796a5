"""How a person rates and what an item is like, taste aside: what a device tells another domain."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from metaem_core.data.bias import USER_DAMPING, Biases, damped_mean
from metaem_core.data.ratings import Floats, Ints, Ratings

PARTS = 5  # equal parts of the rating scale whose use is counted
PRIOR = 5.0  # ratings of an average person that every person's habits are mixed with
USER_TRAITS = 6 + PARTS
ITEM_TRAITS = 3


def user_traits(ratings: Ratings, biases: Biases) -> Floats:
    """Rating habits, the bias first and as it is, the others standardised; (n_users, 11).

    Bias, spread, log count, agreement with item biases, shares of the scale's five parts, mean
    popularity and mean bias of the rated items. A device finds its own from its ratings and what
    everyone may know of the items: :class:`Habits`.
    """
    return Habits.of(ratings, biases).traits(ratings, biases.user)


@dataclass(frozen=True)
class Habits:
    """What everyone may know of a domain and a device needs to find its user's traits."""

    mean: float  # of the ratings
    item: Floats  # biases (n_items,)
    user_damping: float
    shown: NDArray[np.float64]  # log counts (n_items,)
    low: float  # the least and the highest rating seen
    high: float
    square: float  # mean square of what the biases leave
    typical: tuple[float, ...]  # the average user's shares, popularity and bias of rated items
    centre: NDArray[np.float64]  # what standardises all but the bias (USER_TRAITS - 1,)
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, ratings: Ratings, biases: Biases) -> "Habits":
        """A domain's own."""
        raw = cls(
            mean=biases.mean,
            item=biases.item,
            user_damping=biases.user_damping,
            shown=popularity(ratings),
            low=float(ratings.values.min()),
            high=float(ratings.values.max()),
            square=float((biases.residuals(ratings) ** 2).mean()),
            typical=(),
            centre=np.zeros(0),
            deviation=np.zeros(0),
        )
        typical = tuple(float(counted.mean()) for counted in raw._counted(ratings))
        styles = replace(raw, typical=typical)._styles(ratings, biases.user)
        rated = styles[np.bincount(ratings.users, minlength=ratings.n_users) > 0]
        centre, spread = rated.mean(0), rated.std(0)
        # what all users share tells nothing of one, nor of a newcomer who differs from them all
        deviation = np.where(spread > 1e-6, spread, np.inf)
        return replace(raw, typical=typical, centre=centre, deviation=deviation)

    def user_bias(self, ratings: Ratings) -> Floats:
        """Damped means of what mean and item biases leave (n_users,)."""
        left = ratings.values - self.mean - self.item[ratings.items]
        bias = damped_mean(ratings.users, left, ratings.n_users, self.user_damping)
        return bias.astype(np.float32)

    def traits(self, ratings: Ratings, bias: Floats) -> Floats:
        """Traits of the users of any ratings of these items, given their ``bias`` (n_users, 11)."""
        styles = (self._styles(ratings, bias) - self.centre) / self.deviation
        styles[np.bincount(ratings.users, minlength=ratings.n_users) == 0] = 0
        return np.column_stack([bias, styles]).astype(np.float32)

    def _styles(self, ratings: Ratings, bias: Floats) -> NDArray[np.float64]:
        users, n_users = ratings.users, ratings.n_users
        item = self.item[ratings.items]
        residuals = ratings.values - self.mean - item - bias[users]
        spread = damped_mean(users, residuals**2 - self.square, n_users, USER_DAMPING)
        habits = [
            np.sqrt(spread + self.square),
            np.log1p(np.bincount(users, minlength=n_users)),
            _agreement(users, residuals, item, n_users),
            *(
                damped_mean(users, values - typical, n_users, PRIOR) + typical
                for values, typical in zip(self._counted(ratings), self.typical, strict=True)
            ),
        ]
        return np.stack(habits, axis=1)

    def _counted(self, ratings: Ratings) -> Iterator[NDArray[np.floating]]:
        """What a user's mean is taken of, mixed with a few ratings of the average user (R,)."""
        span = max(self.high - self.low, 1e-6)
        part = np.floor((ratings.values - self.low) / span * PARTS).clip(0, PARTS - 1)
        yield from (part == np.arange(PARTS)[:, None]).astype(np.float32)
        yield self.shown[ratings.items]
        yield self.item[ratings.items]


@dataclass(frozen=True)
class ItemScale:
    """What standardises a domain's item traits."""

    bias: float  # standard deviation of the biases
    mean: float  # of the log counts
    deviation: float

    @classmethod
    def of(cls, ratings: Ratings, biases: Biases) -> "ItemScale":
        """A domain's own."""
        shown = popularity(ratings)
        deviations = float(biases.item.std()), float(shown.std())
        bias, deviation = (max(each, 1e-6) for each in deviations)
        return cls(bias, float(shown.mean()), deviation)

    def traits(self, bias: Floats, counts: Ints) -> Floats:
        """One, bias and log count of items (B,): what habits are multiplied with; (B, 3)."""
        shown = (np.log1p(counts) - self.mean) / self.deviation
        return np.column_stack([np.ones_like(bias), bias / self.bias, shown]).astype(np.float32)


def popularity(ratings: Ratings) -> NDArray[np.float64]:
    """Log of one more than each item's ratings (n_items,)."""
    return np.log1p(np.bincount(ratings.items, minlength=ratings.n_items))


def _agreement(users: Ints, residuals: Floats, item: Floats, n_users: int) -> NDArray[np.float64]:
    """Slope of a user's residuals in the item biases, damped: above 0, consensus counts more."""
    together = np.bincount(users, weights=residuals * item, minlength=n_users)
    return together / (np.bincount(users, weights=item * item, minlength=n_users) + 0.5)
