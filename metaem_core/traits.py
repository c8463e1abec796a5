"""How a person rates and what an item is like, taste aside: what a device tells another domain."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metaem_core.bias import USER_DAMPING, Biases, damped_mean
from metaem_core.ratings import Floats, Ints, Ratings

PARTS = 5  # equal parts of the rating scale whose use is counted
PRIOR = 5.0  # ratings of an average person that every person's habits are mixed with
USER_TRAITS = 6 + PARTS
ITEM_TRAITS = 3


def user_traits(ratings: Ratings, biases: Biases) -> Floats:
    """Rating habits, the bias first and as it is, the others standardised; (n_users, 11).

    Bias, spread, log count, agreement with item biases, shares of the scale's five parts, mean
    popularity and mean bias of the rated items. A device finds its own from its ratings and what
    everyone may know of the items.
    """
    users, n_users = ratings.users, ratings.n_users
    residuals = biases.residuals(ratings)
    squares = residuals**2
    typical = float(squares.mean())
    spread = damped_mean(users, squares - typical, n_users, USER_DAMPING)
    count = np.bincount(users, minlength=n_users)
    item = biases.item[ratings.items]
    habits = [
        np.sqrt(spread + typical),
        np.log1p(count),
        _agreement(users, residuals, item, n_users),
        *(_habit(users, part, n_users) for part in _parts(ratings.values)),
        _habit(users, popularity(ratings)[ratings.items], n_users),
        _habit(users, item, n_users),
    ]
    styles = np.stack(habits, axis=1)
    rated = styles[count > 0]
    styles = (styles - rated.mean(0)) / np.maximum(rated.std(0), 1e-6)
    styles[count == 0] = 0
    return np.column_stack([biases.user, styles]).astype(np.float32)


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


def _parts(values: Floats) -> NDArray[np.float32]:
    """1 where a rating lies in a part of the scale; (5, R)."""
    low, high = float(values.min()), float(values.max())
    part = np.floor((values - low) / max(high - low, 1e-6) * PARTS).clip(0, PARTS - 1)
    inside: NDArray[np.bool_] = part == np.arange(PARTS)[:, None]
    return inside.astype(np.float32)


def _habit(users: Ints, values: NDArray[np.floating], n_users: int) -> NDArray[np.float64]:
    """Each user's mean of ``values`` (R,), mixed with a few ratings of the average user."""
    typical = float(values.mean())
    return damped_mean(users, values - typical, n_users, PRIOR) + typical
