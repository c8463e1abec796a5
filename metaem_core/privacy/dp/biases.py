"""Item biases under differential privacy: what devices add to sums, and what noise leaves of them.

Each device takes part in three noisy sums: its mean rating, and twice its items, first with what
its own mean leaves of its ratings, then with what the items' first biases leave too. What it adds
is cut to the length that the ``SUMS`` allow, so in the sums over items everyone counts the same
however much they rated. All numbers are in units of a quarter of the rating scale around its
middle; an item's level is the mean plus its bias.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from metaem_core.data.bias import damped_mean
from metaem_core.data.ratings import Ratings, RatingScale
from metaem_core.evaluation.metrics import Doubles
from metaem_core.privacy.dp.gaussian import Releases


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
LARGEST = 3.0  # residual
COUNT = 0.4  # how a rating's presence is weighed against its residual
USER_DAMPING, ITEM_DAMPING = 5.0, 3.0
LEAST = 1.0  # weight of an item's raters, whatever noise makes of it
ITEM_VARIANCE = 0.15  # of true biases, against which noise is weighed


# one of the ``SUMS`` over devices that know the items' levels (n,), and its noise's deviation
NoisySum = Callable[[str, Doubles], tuple[Doubles, float]]


def noisy_sums(add: Callable[[str, Doubles], Doubles], releases: Releases) -> NoisySum:
    """All devices in one process: their exact sum, and noise on it."""

    def noisy(name: str, levels: Doubles) -> tuple[Doubles, float]:
        total = releases.noisy(name, add(name, levels), *SUMS[name])
        return total, releases.log[-1].deviation

    return noisy


def dp_item_levels(noisy: NoisySum, n_items: int) -> Doubles:
    """The items' levels (n,) after three noisy sums over the users of a domain."""
    unknown = np.zeros(n_items)
    (share, count), _ = noisy("mean", unknown)
    # whatever noise makes of it, the mean lies on the scale
    mean = float(np.clip(2 * share / max(count, 1.0), -2, 2))
    levels = unknown + mean
    for name in ("items, first", "items, again"):
        (total, present), deviation = noisy(name, levels)
        levels = levels + _shrunk(total, np.maximum(present / COUNT, LEAST), deviation)
    return levels


def domain_sum(ratings: Ratings, scale: RatingScale, name: str, levels: Doubles) -> Doubles:
    """What users with these ratings add to a sum over a domain, one of them or all."""
    if name != "mean":
        return item_sums(ratings, scale, name, levels)
    # users' mean ratings, the scale's ends being -1 and 1, and how many users rate
    inside = np.clip(centred(ratings, scale) / 2, -1, 1)
    means = damped_mean(ratings.users, inside, ratings.n_users, 0.0)
    return np.array([means.sum(), len(np.unique(ratings.users))])


def item_sums(ratings: Ratings, scale: RatingScale, name: str, levels: Doubles) -> Doubles:
    """For every item the residuals of its ratings, and how many times COUNT there are; (2, n).

    A residual is what the item's level and the device's own mean of such leave of a rating; each
    device's ratings are weighed so that all it adds is no longer than the clip.
    """
    users, longest = ratings.users, SUMS[name].clip
    left = centred(ratings, scale) - levels[ratings.items]
    own = damped_mean(users, left, ratings.n_users, USER_DAMPING)
    residuals = np.clip(left - own[users], -LARGEST, LARGEST)
    squares = np.bincount(users, residuals**2 + COUNT**2, minlength=ratings.n_users)
    weights = longest / np.maximum(np.sqrt(squares), longest)[users]
    each = weights * residuals, COUNT * weights
    return np.stack([np.bincount(ratings.items, part, minlength=ratings.n_items) for part in each])


def user_biases(ratings: Ratings, scale: RatingScale, levels: Doubles) -> Doubles:
    """Every user's own bias, which stays on their device; (m,)."""
    left = centred(ratings, scale) - levels[ratings.items]
    return damped_mean(ratings.users, left, ratings.n_users, USER_DAMPING)


def centred(ratings: Ratings, scale: RatingScale) -> Doubles:
    """Ratings in units of a quarter of the scale, 0 in its middle (R,)."""
    return (ratings.values.astype(np.float64) - middle(scale)) / unit(scale)


def middle(scale: RatingScale) -> float:
    """Of the scale."""
    return (scale.low + scale.high) / 2


def unit(scale: RatingScale) -> float:
    """One on the usual scale of five stars."""
    return (scale.high - scale.low) / 4


def _shrunk(total: Doubles, weight: Doubles, deviation: float) -> Doubles:
    """What residuals' sums say of biases: the less, the fewer raters and the more noise."""
    return total / (weight + ITEM_DAMPING + deviation**2 / (ITEM_VARIANCE * weight))
