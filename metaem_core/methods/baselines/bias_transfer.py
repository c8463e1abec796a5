"""Rating a cold user by biases alone: his own from the source, the item's from the target."""

from dataclasses import dataclass

import numpy as np

from metaem_core.data.bias import damped_item_bias, damped_user_bias, fitted_biases
from metaem_core.data.pair import DomainPair
from metaem_core.data.ratings import Floats, Ints, Ratings


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


def fit_fitted_bias_transfer(pair: DomainPair) -> BiasTransfer:
    """The same with dampings estimated from the data, and a line instead of a slope alone."""
    target, source = fitted_biases(pair.target), fitted_biases(pair.source)
    overlap, persons = overlap_ratings(pair)
    y = overlap.values - target.mean - target.item[overlap.items]
    slope, constant = fit_line(source.user[persons], y)
    return BiasTransfer(target.mean + constant, target.item, slope, source.user)


def fit_line(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope and constant of the least-squares line; slope 0 where ``x`` does not vary."""
    centred = x.astype(np.float64) - x.mean(dtype=np.float64)
    spread = float(centred @ centred)
    slope = float(centred @ y) / spread if spread > 0 else 0.0
    return slope, float(y.mean(dtype=np.float64) - slope * x.mean(dtype=np.float64))


def overlap_ratings(pair: DomainPair) -> tuple[Ratings, Ints]:
    """The training overlap's target ratings (R,) and the source index of each one's user (R,)."""
    source_of = np.full(pair.target.n_users, -1)
    source_of[pair.train_target] = pair.train_source
    overlap = pair.target.of_users(source_of >= 0)
    return overlap, source_of[overlap.users]
