"""Bias transfer: the user's bias from the source, the item's from the target, no taste."""

import numpy as np

from metaem_core.data.bias import (
    ITEM_DAMPING,
    USER_DAMPING,
    damped_item_bias,
    fit_line,
    fit_slope,
    fitted_biases,
)
from metaem_core.data.pair import DomainPair, Predict
from metaem_core.data.ratings import Floats


def bias_transfer(pair: DomainPair) -> Predict:
    """Target mean + target item bias + slope x source user bias.

    The slope is least squares over the training overlap's target ratings.
    """
    mean, item = damped_item_bias(pair.target)
    user = fitted_biases(pair.source, ITEM_DAMPING, USER_DAMPING).user
    overlap, source_users = pair.overlap_ratings()
    y = overlap.values - mean - item[overlap.items]
    return _sum(mean, item, fit_slope(user[source_users].astype(np.float64), y), user)


def bias_transfer_fitted(pair: DomainPair) -> Predict:
    """The same with estimated dampings and a line: the start of MetaEM's mapping."""
    target, source = fitted_biases(pair.target), fitted_biases(pair.source)
    overlap, source_users = pair.overlap_ratings()
    y = overlap.values - target.mean - target.item[overlap.items]
    slope, constant = fit_line(source.user[source_users], y)
    return _sum(target.mean + constant, target.item, slope, source.user)


def _sum(mean: float, item: Floats, slope: float, user: Floats) -> Predict:
    return lambda users, items: (mean + item[items] + slope * user[users]).astype(np.float32)
