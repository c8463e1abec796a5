"""Item biases under differential privacy: what devices add to sums, and what noise leaves of them.

Each device takes part in three noisy sums: its mean rating, and twice its items, first with what
its own mean leaves of its ratings, then with what the items' first biases leave too. Whatever it
adds is cut to length one, so everyone counts the same however much they rated. All numbers are in
units of a quarter of the rating scale around its middle.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from metaem_core.bias import damped_mean
from metaem_core.privacy.gaussian import Doubles, Releases
from metaem_core.ratings import Ints, Ratings, RatingScale

SHARES = {"mean": 0.05, "items, first": 0.38, "items, again": 0.57}  # of a domain's budget
LONGEST = 1.0  # what a device adds to a sum over items
OF_MEAN = math.sqrt(2)  # and to the mean: a number in [-1, 1], and one
LARGEST = 3.0  # residual
COUNT = 0.4  # how a rating's presence is weighed against its residual
USER_DAMPING, ITEM_DAMPING = 5.0, 3.0
LEAST = 1.0  # weight of an item's raters, whatever noise makes of it
ITEM_VARIANCE = 0.15  # of true biases, against which noise is weighed


class ItemPart(NamedTuple):
    """What each rating adds to the sums of its item."""

    weights: Doubles  # (R,)
    residuals: Doubles  # (R,)

    def sums(self, ratings: Ratings) -> Doubles:
        """Weighted residuals of every item, and weighted counts times COUNT; (2, n)."""
        each = self.weights * self.residuals, COUNT * self.weights
        count = ratings.n_items
        return np.stack([np.bincount(ratings.items, part, minlength=count) for part in each])


@dataclass(frozen=True)
class NoisyItems:
    """All that is known of a domain's items after its noisy sums."""

    mean: float
    first: Doubles  # biases that the second sum's residuals are taken from (n,)
    total: Doubles  # of the second sum: weighted residuals (n,)
    weight: Doubles  # and counts (n,)
    deviation: float  # of the noise in totals

    @property
    def bias(self) -> Doubles:
        """(n,)."""
        return self.first + _shrunk(self.total, self.weight, self.deviation)

    def bias_without(self, items: Ints, part: ItemPart) -> Doubles:
        """Each rating's item bias as it were without what that rating added (R,)."""
        total = self.total[items] - part.weights * part.residuals
        weight = np.maximum(self.weight[items] - part.weights, LEAST)
        return self.first[items] + _shrunk(total, weight, self.deviation)


def private_items(ratings: Ratings, scale: RatingScale, releases: Releases) -> NoisyItems:
    """Three noisy sums over the users of a domain."""
    share, count = mean_sums(ratings, scale)
    noisy = releases.noisy("mean", np.array([share, count]), OF_MEAN, SHARES["mean"])
    mean = 2 * float(noisy[0]) / max(float(noisy[1]), 1.0)
    first = _pass(ratings, scale, releases, "items, first", mean, np.zeros(ratings.n_items))
    return _pass(ratings, scale, releases, "items, again", mean, first.bias)


def mean_sums(ratings: Ratings, scale: RatingScale) -> tuple[float, int]:
    """The sum of users' mean ratings, the scale's ends being -1 and 1, and how many users rate."""
    means = damped_mean(ratings.users, centred(ratings, scale) / 2, ratings.n_users, 0.0)
    return float(means.sum()), len(np.unique(ratings.users))


def item_part(ratings: Ratings, scale: RatingScale, mean: float, bias: Doubles) -> ItemPart:
    """What devices add to the sums over items, given what is known of them; on each device alone.

    Args:
        bias: of the items, as far as known (n,).
    """
    left = centred(ratings, scale) - mean - bias[ratings.items]
    user = damped_mean(ratings.users, left, ratings.n_users, USER_DAMPING)
    residuals = np.clip(left - user[ratings.users], -LARGEST, LARGEST)
    squares = np.bincount(ratings.users, residuals**2 + COUNT**2, minlength=ratings.n_users)
    return ItemPart(LONGEST / np.maximum(np.sqrt(squares), LONGEST)[ratings.users], residuals)


def user_biases(ratings: Ratings, scale: RatingScale, items: NoisyItems) -> Doubles:
    """Every user's own bias, which stays on his device; (m,)."""
    left = centred(ratings, scale) - items.mean - items.bias[ratings.items]
    return damped_mean(ratings.users, left, ratings.n_users, USER_DAMPING)


def centred(ratings: Ratings, scale: RatingScale) -> Doubles:
    """Ratings in units of a quarter of the scale, 0 in its middle (R,)."""
    middle = (scale.low + scale.high) / 2
    return (ratings.values.astype(np.float64) - middle) / unit(scale)


def unit(scale: RatingScale) -> float:
    """One on the usual scale of five stars."""
    return (scale.high - scale.low) / 4


def _pass(
    ratings: Ratings,
    scale: RatingScale,
    releases: Releases,
    name: str,
    mean: float,
    bias: Doubles,
) -> NoisyItems:
    sums = item_part(ratings, scale, mean, bias).sums(ratings)
    total, count = releases.noisy(name, sums, LONGEST, SHARES[name])
    weight = np.maximum(count / COUNT, LEAST)
    return NoisyItems(mean, bias, total, weight, releases.made[-1].deviation)


def _shrunk(total: Doubles, weight: Doubles, deviation: float) -> Doubles:
    """What residuals' sums say of biases: the less, the fewer raters and the more noise."""
    return total / (weight + ITEM_DAMPING + deviation**2 / (ITEM_VARIANCE * weight))
