"""Item biases under differential privacy: what devices add to sums, and what noise leaves of them.

Each device takes part in three noisy sums: its mean rating, and twice its items, first with what
its own mean leaves of its ratings, then with what the items' first biases leave too. Whatever it
adds is cut to length one, so everyone counts the same however much they rated. All numbers are in
units of a quarter of the rating scale around its middle.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from metaem_core.bias import damped_mean
from metaem_core.privacy.gaussian import Doubles, Releases
from metaem_core.ratings import Ints, Ratings, RatingScale

LARGEST = 3.0  # residual
COUNT = 0.4  # how a rating's presence is weighed against its residual
USER_DAMPING, ITEM_DAMPING = 5.0, 3.0
LEAST = 1.0  # weight of an item's raters, whatever noise makes of it
ITEM_VARIANCE = 0.15  # of true biases, against which noise is weighed


class Sum(NamedTuple):
    """One of the noisy sums of a private run."""

    clip: float  # most that one device's part may measure
    share: float  # of its stage's budget


SUMS = {
    "mean": Sum(math.sqrt(2), 0.05),  # a number in [-1, 1], and one
    "items, first": Sum(1.0, 0.38),
    "items, again": Sum(1.0, 0.57),
    "line": Sum(3.0, 1.0),  # of the mapping
}


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


class Sums(Protocol):
    """Whoever can be asked for noisy sums."""

    def ask(self, name: str, known: NoisyItems) -> tuple[Doubles, float]:
        """One of the ``SUMS`` over devices that are told what is ``known``, and its noise."""
        ...


@dataclass(frozen=True)
class SimulatedSums:
    """All devices in one process: their exact sum, and noise on it."""

    add: Callable[[str, NoisyItems], Doubles]
    releases: Releases

    def ask(self, name: str, known: NoisyItems) -> tuple[Doubles, float]:
        noisy = self.releases.noisy(name, self.add(name, known), *SUMS[name])
        return noisy, self.releases.made[-1].deviation


def private_items(sums: Sums, n_items: int) -> NoisyItems:
    """Three noisy sums over the users of a domain."""
    unknown = np.zeros(n_items)
    (share, count), _ = sums.ask("mean", _before_sums(0.0, unknown))
    mean = 2 * float(share) / max(float(count), 1.0)
    first = _pass(sums, "items, first", mean, unknown)
    return _pass(sums, "items, again", mean, first.bias)


def domain_sum(ratings: Ratings, scale: RatingScale, name: str, known: NoisyItems) -> Doubles:
    """What users with these ratings add to a sum over a domain, one of them or all."""
    if name == "mean":
        return mean_sums(ratings, scale)
    return item_part(ratings, scale, known.mean, known.first).sums(ratings)


def mean_sums(ratings: Ratings, scale: RatingScale) -> Doubles:
    """The sum of users' mean ratings, the scale's ends being -1 and 1, and how many users rate."""
    means = damped_mean(ratings.users, centred(ratings, scale) / 2, ratings.n_users, 0.0)
    return np.array([means.sum(), len(np.unique(ratings.users))])


def item_part(ratings: Ratings, scale: RatingScale, mean: float, bias: Doubles) -> ItemPart:
    """What devices add to the sums over items, given what is known of them; on each device alone.

    Args:
        bias: of the items, as far as known (n,).
    """
    left = centred(ratings, scale) - mean - bias[ratings.items]
    user = damped_mean(ratings.users, left, ratings.n_users, USER_DAMPING)
    residuals = np.clip(left - user[ratings.users], -LARGEST, LARGEST)
    squares = np.bincount(ratings.users, residuals**2 + COUNT**2, minlength=ratings.n_users)
    longest = SUMS["items, first"].clip
    return ItemPart(longest / np.maximum(np.sqrt(squares), longest)[ratings.users], residuals)


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


def _pass(sums: Sums, name: str, mean: float, bias: Doubles) -> NoisyItems:
    (total, count), deviation = sums.ask(name, _before_sums(mean, bias))
    return NoisyItems(mean, bias, total, np.maximum(count / COUNT, LEAST), deviation)


def _before_sums(mean: float, bias: Doubles) -> NoisyItems:
    return NoisyItems(mean, bias, np.zeros_like(bias), np.full_like(bias, LEAST), 0.0)


def _shrunk(total: Doubles, weight: Doubles, deviation: float) -> Doubles:
    """What residuals' sums say of biases: the less, the fewer raters and the more noise."""
    return total / (weight + ITEM_DAMPING + deviation**2 / (ITEM_VARIANCE * weight))
