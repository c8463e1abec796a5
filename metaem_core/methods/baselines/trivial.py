"""Trivial predictors that a transfer method has to beat; none is clipped to the rating scale."""

from collections.abc import Callable

import numpy as np

from metaem_core.data.bias import (
    ITEM_DAMPING,
    USER_DAMPING,
    damped_item_bias,
    damped_mean,
    fit_line,
    fit_slope,
    fitted_biases,
)
from metaem_core.data.pair import DomainPair, Predict
from metaem_core.data.ratings import Floats, Ints


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
    """Target mean + target item bias + slope x source user bias.

    The slope is least squares over the training overlap's target ratings.
    """
    mean, item = damped_item_bias(pair.target)
    user = fitted_biases(pair.source, ITEM_DAMPING, USER_DAMPING).user
    overlap, source_users = pair.overlap_ratings()
    y = overlap.values - mean - item[overlap.items]
    return _bias_sum(mean, item, fit_slope(user[source_users].astype(np.float64), y), user)


def bias_transfer_fitted(pair: DomainPair) -> Predict:
    """Bias transfer with estimated dampings and a line: the start of MetaEM's mapping."""
    target, source = fitted_biases(pair.target), fitted_biases(pair.source)
    overlap, source_users = pair.overlap_ratings()
    y = overlap.values - target.mean - target.item[overlap.items]
    slope, constant = fit_line(source.user[source_users], y)
    return _bias_sum(target.mean + constant, target.item, slope, source.user)


def user_knn(pair: DomainPair) -> Predict:
    """Bias transfer plus its target residuals for training users who are similar in the source."""
    # torch is imported only by runs that score
    from metaem_core.methods.baselines.user_knn import fit_neighbours, fit_weight

    base = bias_transfer(pair)
    neighbours = fit_neighbours(pair, base)
    weight = fit_weight(neighbours, pair, base)
    return lambda users, items: base(users, items) + weight * neighbours.taste(users, items)


TRIVIAL: dict[str, Callable[[DomainPair], Predict]] = {
    "global_mean": global_mean,
    "item_mean": item_mean,
    "source_user_mean": source_user_mean,
    "bias_transfer": bias_transfer,
    "bias_transfer_fitted": bias_transfer_fitted,
    "user_knn": user_knn,
}


def _means(groups: Ints, values: Floats, n_groups: int) -> Floats:
    means = damped_mean(groups, values, n_groups, damping=0.0)
    rated = np.bincount(groups, minlength=n_groups) > 0
    return np.where(rated, means, values.mean(dtype=np.float64)).astype(np.float32)


def _bias_sum(mean: float, item: Floats, slope: float, user: Floats) -> Predict:
    return lambda users, items: (mean + item[items] + slope * user[users]).astype(np.float32)
