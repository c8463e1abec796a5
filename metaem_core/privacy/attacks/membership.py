"""Membership inference: whether a trained model tells who was trained on.

Canaries are invented users with random items and extreme stars; half of them are trained on.
Whoever has the model, any device among them, scores each by how far items lean towards its ratings,
which they do a little more if those were among the ratings they were fitted to.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metaem_core.data.ratings import Floats, Ints, Ratings, RatingScale
from metaem_core.privacy.attacks.reconstruction import auc

FALSE_ALARMS = 0.01


@dataclass(frozen=True)
class Canaries:
    """Users (c, q) that each rate q items, and which of them are trained on."""

    items: Ints  # (c, q)
    values: Floats  # (c, q)
    inside: NDArray[np.bool_]  # (c,)

    @classmethod
    def drawn(
        cls, count: int, size: int, n_items: int, scale: RatingScale, seed: int
    ) -> "Canaries":
        """``count`` users with ``size`` of the ``n_items`` items each; every second is inside."""
        draw = np.random.default_rng(seed)
        items = np.stack([np.sort(draw.permutation(n_items)[:size]) for _ in range(count)])
        ends = np.array([scale.low, scale.high], np.float32)
        return cls(items, draw.choice(ends, items.shape), np.arange(count) % 2 == 0)

    def among(self, ratings: Ratings) -> Ratings:
        """The ratings with those of the canaries inside, as users behind all others."""
        items, values = self.items[self.inside], self.values[self.inside]
        users = ratings.n_users + np.repeat(np.arange(len(items)), items.shape[1])
        return replace(
            ratings,
            users=np.concatenate([ratings.users, users]),
            items=np.concatenate([ratings.items, items.ravel()]),
            values=np.concatenate([ratings.values, values.ravel()]),
            n_users=ratings.n_users + len(items),
        )


class Membership(NamedTuple):
    """How well an attacker separates those inside from those outside."""

    auc: float  # 0.5: not at all
    named: float  # share of those inside that it names with FALSE_ALARMS false alarms


def inferred(canaries: Canaries, offsets: Floats) -> Membership:
    """The attack on what a model takes items to be rated, ``offsets`` (n,)."""
    lean = canaries.values - canaries.values.mean()
    scores = (lean * (offsets[canaries.items] - offsets.mean())).sum(1)
    outside = np.sort(scores[~canaries.inside])
    bar = outside[int(np.ceil((1 - FALSE_ALARMS) * len(outside))) - 1]
    named = float((scores[canaries.inside] > bar).mean())
    return Membership(auc(scores, np.flatnonzero(canaries.inside)), named)
