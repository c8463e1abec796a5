"""Gaussian differential privacy: the noise that a budget asks for, and what noise was worth.

Neighbours are data with and without all ratings of one user. A sum to which a user adds a vector of
at most ``clip`` in length, with Gaussian noise of deviation ``z clip`` on every number, tells as
much of a user as telling N(0, 1) from N(1/z, 1); such releases, each chosen in sight of those
before, tell as much as one of ``mu = sqrt(sum 1 / z^2)`` (Dong, Roth and Su 2022, Corollary 3.3).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from metaem_core.evaluation.metrics import Doubles

MOST_MU = 1e3
GRID = 2.0**-30  # of the noise's deviation: releases are whole multiples of it


class Release(NamedTuple):
    """A noisy sum that left the devices."""

    name: str
    clip: float  # most that one user's part may measure, once on the grid
    deviation: float  # of the noise on every number

    @property
    def mu(self) -> float:
        """Its privacy loss: N(0, 1) from N(mu, 1)."""
        return self.clip / self.deviation if self.deviation else math.inf


@dataclass
class Releases:
    """The noisy sums of one stage, of ``mu`` together, and their log."""

    mu: float
    draw: np.random.Generator
    log: list[Release] = field(default_factory=list)

    def noisy(self, name: str, total: Doubles, clip: float, share: float) -> Doubles:
        """``total``, a sum over users none of whom added a vector longer than ``clip``, with noise.

        Sum and noise are whole multiples of a small part of the noise: a float would tell by its
        last bits which sums it can be of (Mironov 2012). It spends ``share`` of the stage's squared
        mu; rounding may lengthen a user's part by half a multiple a number and side.

        Raises:
            ValueError: more than the budget of the stage.
        """
        longer = math.sqrt(total.size) * GRID
        deviation = clip / (self.mu * math.sqrt(share) - longer)
        release = Release(name, clip + longer * deviation, deviation)
        if mu_of_releases([*self.log, release]) > self.mu * (1 + 1e-9):
            raise ValueError(f"release {name!r} spends more than the budget of its stage")
        self.log.append(release)
        if deviation == 0:
            return total
        grid = GRID * deviation
        noise = self.draw.normal(0.0, deviation, total.shape)
        return grid * (np.rint(total / grid) + np.rint(noise / grid))


def mu_of_releases(releases: Sequence[Release]) -> float:
    """Privacy loss of releases together."""
    return math.hypot(*(release.mu for release in releases))


def delta_of(mu: float, epsilon: float) -> float:
    """The least delta for which ``mu`` is (epsilon, delta): Balle and Wang 2018, Theorem 8."""
    half, ratio = mu / 2, epsilon / mu
    beyond = _cdf(-ratio - half)
    # e^epsilon may be beyond floats where the tail is 0
    return _cdf(half - ratio) - (math.exp(epsilon + math.log(beyond)) if beyond > 0 else 0.0)


def epsilon_of(mu: float, delta: float) -> float:
    """The least epsilon for which ``mu`` is (epsilon, delta), by the closed form."""
    most = mu * (mu / 2 + 40)
    return _bisected(lambda epsilon: delta_of(mu, epsilon) <= delta, 0.0, most) if mu > 0 else 0.0


def mu_of(epsilon: float, delta: float) -> float:
    """The largest mu within (epsilon, delta)."""
    return _bisected(lambda mu: delta_of(mu, epsilon) > delta, 1e-9, MOST_MU) * (1 - 1e-12)


def epsilon_by_losses(releases: Sequence[Release], delta: float) -> float:
    """Epsilon of all releases together by dp-accounting's privacy loss distributions."""
    # its import takes a second that only private runs should pay
    from dp_accounting import GaussianDpEvent
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant()
    for release in releases:
        accountant.compose(GaussianDpEvent(release.deviation / release.clip))
    return float(accountant.get_epsilon(delta))


def _cdf(x: float) -> float:
    """Of N(0, 1), exact in its lower tail too."""
    return math.erfc(-x / math.sqrt(2)) / 2


def _bisected(enough: Callable[[float], bool], low: float, high: float) -> float:
    """The least number for which ``enough`` holds, which it does from there on up to ``high``."""
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
