"""Predictors any transfer method has to beat; none is clipped to the rating scale."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from metaem_core.bias import damped_item_bias, damped_mean, damped_user_bias
from metaem_core.methods.neighbours import Neighbours
from metaem_core.pair import DomainPair, Predict
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


def global_mean(pair: DomainPair) -> Predict:
    """The target's mean rating, for everyone and everything."""
    mean = pair.target.values.mean(dtype=np.float64)
    return lambda users, items: np.full(len(items), mean, dtype=np.float32)


def item_mean(pair: DomainPair) -> Predict:
    """The item's plain mean target rating; the global mean for an item without one."""
    means = _means(pair.target.items, pair.target.values, pair.target.n_items)
    return lambda users, items: means[items]


def source_user_mean(pair: DomainPair) -> Predict:
    """The user's plain mean source rating; the source's global mean for a user without one."""
    means = _means(pair.source.users, pair.source.values, pair.source.n_users)
    return lambda users, items: means[users]


def bias_transfer(pair: DomainPair) -> Predict:
    """Everything but taste: :class:`BiasTransfer`."""
    return fit_bias_transfer(pair).rate


def user_knn(pair: DomainPair) -> Predict:
    """Bias transfer plus the target residuals of training users with similar source residuals."""
    base = fit_bias_transfer(pair)
    neighbours = Neighbours.fit(pair)
    return lambda users, items: base.rate(users, items) + neighbours.taste(users, items)


TRIVIAL: dict[str, Callable[[DomainPair], Predict]] = {
    "global_mean": global_mean,
    "item_mean": item_mean,
    "source_user_mean": source_user_mean,
    "bias_transfer": bias_transfer,
    "user_knn": user_knn,
}


def _means(groups: Ints, values: Floats, n_groups: int) -> Floats:
    means = damped_mean(groups, values, n_groups, damping=0.0)
    rated = np.bincount(groups, minlength=n_groups) > 0
    return np.where(rated, means, values.mean(dtype=np.float64)).astype(np.float32)
