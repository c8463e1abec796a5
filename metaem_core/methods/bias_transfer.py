"""Rating a cold user by biases alone: his own from the source, the item's from the target."""

from dataclasses import dataclass

import numpy as np

from metaem_core.bias import damped_item_bias, damped_user_bias
from metaem_core.pair import DomainPair
from metaem_core.ratings import Floats, Ints, Ratings


@dataclass(frozen=True)
class BiasTransfer:
    """r_ui ~ target mean + target item bias + slope x source user bias."""

    mean: float
    item: Floats  # (target items,)
    slope: float
    user: Floats  # (source users,)

    def rate(self, users: Ints, items: Ints) -> Floats:
        """Ratings (Q,) of source users (Q,) for target items (Q,)."""
        return (self.mean + self.item[items] + self.slope * self.user[users]).astype(np.float32)


def fit_bias_transfer(pair: DomainPair) -> BiasTransfer:
    """The slope is least squares over the training overlap's target ratings."""
    mean, item = damped_item_bias(pair.target)
    user = damped_user_bias(pair.source)
    overlap, persons = overlap_ratings(pair)
    x = user[persons].astype(np.float64)
    y = overlap.values - mean - item[overlap.items]
    spread = float(x @ x)
    slope = float(x @ y) / spread if spread > 0 else 0.0
    return BiasTransfer(mean, item, slope, user)


def overlap_ratings(pair: DomainPair) -> tuple[Ratings, Ints]:
    """The training overlap's target ratings (R,) and the source index of each one's user (R,)."""
    source_of = np.full(pair.target.n_users, -1)
    source_of[pair.train_target] = pair.train_source
    overlap = pair.target.of_users(source_of >= 0)
    return overlap, source_of[overlap.users]
