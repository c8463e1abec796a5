"""How likely each value of the scale is, where a method predicts a mean.

Of all distributions with that mean, this is the one closest to how often the target's ratings take
each value (least Kullback-Leibler divergence): their shares times ``exp(t value)``, with t such
that the mean is right (Csiszár 1975). Nothing is fitted, so every method gets the same. Its median
is the best answer for the absolute error, as its mean is for the squared one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metaem_core.data.ratings import Floats, RatingScale
from metaem_core.evaluation.metrics import Doubles, Reals

SMALLEST = 1e-6  # share of a value that no rating has
STEPS = 60  # of the bisection for t
BINS = 10  # of a calibration curve


@dataclass(frozen=True)
class Spread:
    """How often a domain's ratings take each value of their scale."""

    values: Doubles  # (L,) ascending
    shares: Doubles  # (L,)

    @classmethod
    def of(cls, ratings: Floats, scale: RatingScale) -> "Spread":
        """Of training ratings (R,); each counts for the value next to it."""
        levels = round((scale.high - scale.low) / scale.step) + 1
        places = np.rint((ratings - scale.low) / scale.step).astype(np.int64)
        counts = np.bincount(places.clip(0, levels - 1), minlength=levels)
        shares: Doubles = np.maximum(counts / max(len(ratings), 1), SMALLEST)
        values = scale.low + scale.step * np.arange(levels, dtype=np.float64)
        return cls(values, shares / shares.sum())

    def around(self, means: Reals) -> Doubles:
        """The probability of each value (R, L) where these means (R,) are predicted."""
        low, high = self.values[0], self.values[-1]
        margin = 1e-3 * (high - low)
        wanted, which = np.unique(means.clip(low + margin, high - margin), return_inverse=True)
        places = (self.values - low) / (high - low)
        lower, upper = np.full(len(wanted), -1e3), np.full(len(wanted), 1e3)
        for _ in range(STEPS):
            middle = (lower + upper) / 2
            below = self._tilted(middle, places) @ self.values < wanted
            lower, upper = np.where(below, middle, lower), np.where(below, upper, middle)
        return self._tilted((lower + upper) / 2, places)[which]

    def _tilted(self, by: Doubles, places: Doubles) -> Doubles:
        logs = np.log(self.shares) + by[:, None] * places
        odds = np.exp(logs - logs.max(1, keepdims=True))
        return np.asarray(odds / odds.sum(1, keepdims=True))

    def medians(self, chances: Doubles) -> Floats:
        """The least value (R,) that half of the ratings do not exceed."""
        place = (chances.cumsum(1) < 0.5).sum(1).clip(max=len(self.values) - 1)
        return np.asarray(self.values[place], np.float32)

    def above_middle(self, chances: Doubles) -> Doubles:
        """The probability (R,) of a value above the middle: of 4 stars or more out of 5."""
        liked = self.values > (self.values[0] + self.values[-1]) / 2
        return np.asarray(chances[:, liked].sum(1))


def brier(chances: Doubles, happened: Reals | NDArray[np.bool_]) -> float:
    """The mean squared difference of probabilities (R,) from what happened, 0 or 1 (R,)."""
    return float(np.square(chances - happened).mean())


def calibration(chances: Doubles, happened: NDArray[np.bool_]) -> tuple[Doubles, Doubles, Doubles]:
    """By tenths of the probability (BINS,): ratings, sum of probabilities, how often it happened.

    Sums, so that cells and seeds add up.
    """
    tenth = np.minimum((chances * BINS).astype(np.int64), BINS - 1)

    def summed(values: Doubles) -> Doubles:
        return np.bincount(tenth, weights=values, minlength=BINS).astype(np.float64)

    return summed(np.ones(len(chances))), summed(chances), summed(happened.astype(np.float64))
