"""Bias transfer: the user's bias from the source, the item's from the target, no taste."""

from dataclasses import dataclass

import numpy as np

from metaem_core.data.bias import (
    ITEM_DAMPING,
    USER_DAMPING,
    damped_item_bias,
    fit_line,
    fit_slope,
    fitted_biases,
)
from metaem_core.data.pair import DomainPair
from metaem_core.data.ratings import Floats, Ints


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
    user = fitted_biases(pair.source, ITEM_DAMPING, USER_DAMPING).user
    overlap, source_users = pair.overlap_ratings()
    y = overlap.values - mean - item[overlap.items]
    return BiasTransfer(mean, item, fit_slope(user[source_users].astype(np.float64), y), user)


def fit_fitted_bias_transfer(pair: DomainPair) -> BiasTransfer:
    """The same with dampings estimated from the data, and a line instead of a slope alone."""
    target, source = fitted_biases(pair.target), fitted_biases(pair.source)
    overlap, source_users = pair.overlap_ratings()
    y = overlap.values - target.mean - target.item[overlap.items]
    slope, constant = fit_line(source.user[source_users], y)
    return BiasTransfer(target.mean + constant, target.item, slope, source.user)
