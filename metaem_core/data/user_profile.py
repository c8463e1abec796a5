"""User profiles (rating behaviour, 11 numbers) and item features (bias and popularity).

The profile is the part of a source vector that is not an embedding (docs/paper.md).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from metaem_core.data.bias import USER_DAMPING, Biases, damped_mean
from metaem_core.data.ratings import Floats, Ints, Ratings

PARTS = 5  # equal parts of the rating scale
PRIOR = 5.0  # ratings of an average user that every mean is mixed with
PROFILE_SIZE = 6 + PARTS
ITEM_FEATURES = 3


@dataclass(frozen=True)
class ProfileStatistics:
    """Statistics of a whole domain from which a device computes its user's profile."""

    mean: float  # of the ratings
    item_bias: Floats  # (n_items,)
    user_damping: float
    popularity: NDArray[np.float64]  # log(1 + ratings) of each item (n_items,)
    low: float  # lowest rating in the domain
    high: float  # highest one
    variance: float  # mean squared residual of the biases
    average: tuple[float, ...]  # means over ratings: scale shares (5), popularity, item bias
    centre: NDArray[np.float64]  # mean of all columns but the bias (PROFILE_SIZE - 1,)
    deviation: NDArray[np.float64]  # their standard deviation; inf where it is 0

    @classmethod
    def of(cls, ratings: Ratings, biases: Biases) -> "ProfileStatistics":
        """The statistics of ``ratings`` with these ``biases``."""
        raw = cls(
            mean=biases.mean,
            item_bias=biases.item,
            user_damping=biases.user_damping,
            popularity=log_popularity(ratings),
            low=float(ratings.values.min()),
            high=float(ratings.values.max()),
            variance=float((biases.residuals(ratings) ** 2).mean()),
            average=(),
            centre=np.zeros(0),
            deviation=np.zeros(0),
        )
        average = tuple(float(column.mean()) for column in raw._averaged(ratings))
        columns = replace(raw, average=average)._columns(ratings, biases.user)
        rated = columns[np.bincount(ratings.users, minlength=ratings.n_users) > 0]
        centre, spread = rated.mean(0), rated.std(0)
        # a column in which all users agree says nothing, not even of a new user who differs
        deviation = np.where(spread > 1e-6, spread, np.inf)
        return replace(raw, average=average, centre=centre, deviation=deviation)

    def user_bias(self, ratings: Ratings) -> Floats:
        """b_u (n_users,): damped mean of r_ui - mu - b_i; 0 for a user without ratings."""
        residuals = ratings.values - self.mean - self.item_bias[ratings.items]
        bias = damped_mean(ratings.users, residuals, ratings.n_users, self.user_damping)
        return bias.astype(np.float32)

    def profiles(self, ratings: Ratings, bias: Floats) -> Floats:
        """Profiles (n_users, 11) of users with these ratings and this ``bias`` (n_users,).

        Columns: bias (not standardised), then standardised: spread of residuals, log count,
        agreement with item biases, shares of the scale's five parts, mean log popularity and mean
        bias of the rated items. Zeros for a user without ratings.
        """
        columns = (self._columns(ratings, bias) - self.centre) / self.deviation
        columns[np.bincount(ratings.users, minlength=ratings.n_users) == 0] = 0
        return np.column_stack([bias, columns]).astype(np.float32)

    def _columns(self, ratings: Ratings, bias: Floats) -> NDArray[np.float64]:
        users, n_users = ratings.users, ratings.n_users
        item = self.item_bias[ratings.items]
        residuals = ratings.values - self.mean - item - bias[users]
        spread = damped_mean(users, residuals**2 - self.variance, n_users, USER_DAMPING)
        columns = [
            np.sqrt(spread + self.variance),
            np.log1p(np.bincount(users, minlength=n_users)),
            _agreement(users, residuals, item, n_users),
            *(
                damped_mean(users, values - average, n_users, PRIOR) + average
                for values, average in zip(self._averaged(ratings), self.average, strict=True)
            ),
        ]
        return np.stack(columns, axis=1)

    def _averaged(self, ratings: Ratings) -> Iterator[NDArray[np.floating]]:
        """The values (R,) whose mean over a user's ratings is a column of the profile."""
        span = max(self.high - self.low, 1e-6)
        part = np.floor((ratings.values - self.low) / span * PARTS).clip(0, PARTS - 1)
        yield from (part == np.arange(PARTS)[:, None]).astype(np.float32)
        yield self.popularity[ratings.items]
        yield self.item_bias[ratings.items]


@dataclass(frozen=True)
class ItemScale:
    """Standard deviations and means that standardise a domain's item features."""

    bias: float  # standard deviation of the biases
    mean: float  # of the log popularity
    deviation: float  # of the log popularity

    @classmethod
    def of(cls, ratings: Ratings, biases: Biases) -> "ItemScale":
        """The scale of all items of ``ratings``."""
        popularity = log_popularity(ratings)
        deviations = float(biases.item.std()), float(popularity.std())
        bias, deviation = (max(each, 1e-6) for each in deviations)
        return cls(bias, float(popularity.mean()), deviation)

    def features(self, bias: Floats, counts: Ints) -> Floats:
        """One, bias and log popularity (B, 3) of items with this ``bias`` and ``counts`` (B,)."""
        popularity = (np.log1p(counts) - self.mean) / self.deviation
        return np.column_stack([np.ones_like(bias), bias / self.bias, popularity]).astype(
            np.float32
        )


def log_popularity(ratings: Ratings) -> NDArray[np.float64]:
    """log(1 + number of ratings) of each item (n_items,)."""
    return np.log1p(np.bincount(ratings.items, minlength=ratings.n_items))


def _agreement(users: Ints, residuals: Floats, item: Floats, n_users: int) -> NDArray[np.float64]:
    """Slope of a user's residuals in the item biases, damped; above 0: exaggerates consensus."""
    together = np.bincount(users, weights=residuals * item, minlength=n_users)
    return together / (np.bincount(users, weights=item * item, minlength=n_users) + 0.5)
