"""Biases: r_ui = mu + b_u + b_i."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metaem_core.data.ratings import Floats, Ints, Ratings

ITEM_DAMPING = 10.0
USER_DAMPING = 15.0
SWEEPS = 10


@dataclass(frozen=True)
class Biases:
    """r_ui ~ mean + item[i] + user[u]; shapes (n_items,) and (n_users,)."""

    mean: float
    item: Floats
    user: Floats
    item_damping: float
    user_damping: float

    def residuals(self, ratings: Ratings) -> Floats:
        """r_ui - mu - b_u - b_i of each rating; shape (R,)."""
        return ratings.values - self.mean - self.item[ratings.items] - self.user[ratings.users]


def leave_one_out(bias: Floats, count: Ints, residuals: Floats, damping: float) -> Floats:
    """Damped item bias of each rating's item, computed without that rating (R,).

    Args:
        bias: the item's bias with the rating (R,).
        count: the item's ratings, this one included (R,).
        residuals: ``r_ui - mu - b_u`` (R,).
    """
    without = (bias * (count + damping) - residuals) / np.maximum(count - 1 + damping, 1)
    return np.asarray(without, np.float32)


def damped_item_bias(ratings: Ratings) -> tuple[float, Floats]:
    """Global mean mu and b_i = sum_u (r_ui - mu) / (n_i + damping); 0 for an unrated item."""
    mean = _mean(ratings)
    bias = damped_mean(ratings.items, ratings.values - mean, ratings.n_items, ITEM_DAMPING)
    return mean, bias.astype(np.float32)


def fitted_biases(
    ratings: Ratings, item_damping: float | None = None, user_damping: float | None = None
) -> Biases:
    """mu, b_i and b_u fitted together: each the damped mean of the others' residuals.

    A damping that is not given is estimated, as noise variance / bias variance. Devices need to
    send only sums: of counts, of residuals and of their squares.
    """
    mean = _mean(ratings)
    centred = ratings.values - mean
    user = np.zeros(ratings.n_users)
    for _ in range(SWEEPS):
        left = centred - user[ratings.users]
        item, of_items = _shrunk_mean(ratings.items, left, ratings.n_items, item_damping)
        left = centred - item[ratings.items]
        user, of_users = _shrunk_mean(ratings.users, left, ratings.n_users, user_damping)
    return Biases(mean, item.astype(np.float32), user.astype(np.float32), of_items, of_users)


def _shrunk_mean(
    groups: Ints, values: NDArray[np.floating], n_groups: int, damping: float | None
) -> tuple[NDArray[np.float64], float]:
    if damping is None:
        damping = _estimated_damping(groups, values, n_groups)
    return damped_mean(groups, values, n_groups, damping), damping


def _estimated_damping(groups: Ints, values: NDArray[np.floating], n_groups: int) -> float:
    """By a one-way analysis of variance (Searle 1992, 3.6)."""
    count = np.bincount(groups, minlength=n_groups)
    total = np.bincount(groups, weights=values, minlength=n_groups)
    n, filled = len(values), int((count > 0).sum())
    explained = float((total**2 / np.maximum(count, 1)).sum())
    noise = (float(values @ values) - explained) / max(n - filled, 1)
    between = explained - float(total.sum()) ** 2 / n - (filled - 1) * noise
    variance = between / max(n - float(count @ count) / n, 1.0)
    return noise / max(variance, 1e-3)


def damped_mean(
    groups: Ints, values: NDArray[np.floating], n_groups: int, damping: float
) -> NDArray[np.float64]:
    """sum / (count + damping) of each group's values, 0 for an empty group; shape (n_groups,)."""
    total = np.bincount(groups, weights=values, minlength=n_groups)
    count = np.bincount(groups, minlength=n_groups) + damping
    return total / np.where(count > 0, count, 1.0)


def fit_line(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope and constant of the least-squares line; slope 0 where ``x`` does not vary."""
    centred = x.astype(np.float64) - x.mean(dtype=np.float64)
    slope = fit_slope(centred, y)
    return slope, float(y.mean(dtype=np.float64) - slope * x.mean(dtype=np.float64))


def fit_slope(x: NDArray[np.float64], y: Floats) -> float:
    """Slope of the least-squares line through the origin; 0 where ``x`` is 0."""
    spread = float(x @ x)
    return float(x @ y) / spread if spread > 0 else 0.0


def _mean(ratings: Ratings) -> float:
    if len(ratings) == 0:
        raise ValueError("a domain without ratings has no mean; check the filter and the split")
    return float(ratings.values.mean(dtype=np.float64))
