"""Ridge regression whose damping follows from the users themselves, by sums over devices.

Each user belongs to one fold, and each fold has its own sums. Leaving a fold out gives weights
that its users had no part in, and the fold's sums give their error on these users. No single
damping is selected: weights are averaged over a grid, by how well each damping predicts users who
were left out. Where this says little, much of the average is the line without the damped columns.
"""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from metaem_core.data.ratings import Ints, held_chance
from metaem_core.evaluation.metrics import Doubles

FOLDS = 5
DAMPINGS = 1e5, 3e4, 1e4, 3e3, 1e3  # in ratings, of columns of unit deviation; and infinity


class Products(NamedTuple):
    """What a ridge regression needs, by fold of users (F): all that a device sends."""

    square: Doubles  # X'X (F, p, p)
    cross: Doubles  # X'y (F, p)
    size: Doubles  # y'y, ratings, and the squared number of each user's ratings (F, 3)

    @classmethod
    def of(cls, x: Doubles, y: Doubles, users: Ints, folds: Ints) -> "Products":
        """Of rows X (R, p) and y (R,) with their users and these users' folds (R,)."""
        parts = []
        for fold in range(FOLDS):
            own, left = x[folds == fold], y[folds == fold]
            counts = np.unique(users[folds == fold], return_counts=True)[1].astype(np.float64)
            parts.append(
                (own.T @ own, own.T @ left, np.array([left @ left, len(left), counts @ counts]))
            )
        return cls(*(np.stack(each) for each in zip(*parts, strict=True)))

    @classmethod
    def summed(cls, products: Iterable["Products"]) -> "Products":
        """Over users, or devices."""
        return reduce(lambda one, other: cls(*map(np.add, one, other)), products)

    def of_columns(self, columns: Doubles) -> "Products":
        """The same of X times ``columns`` (p, q)."""
        square = columns.T @ self.square @ columns
        return Products(square, self.cross @ columns, self.size)

    def design_effect(self, user_damping: float) -> float:
        """:func:`design_effect` of these ratings."""
        _, n_ratings, squares = self.size.sum(0)
        return design_effect(float(n_ratings), float(squares), user_damping)


def design_effect(n_ratings: float, squares: float, user_damping: float) -> float:
    """How many ratings count as one, because those of a user are alike.

    ``1 + (mean size - 1) r`` (Kish 1965, 5.4), r the correlation of a user's ratings, which follows
    from the damping of user biases: noise variance / bias variance.

    Args:
        squares: of each user's number of ratings, summed over users.
    """
    return 1 + max(squares / max(n_ratings, 1) - 1, 0.0) / (1 + user_damping)


def proven(before: Doubles, after: Doubles, users: Ints, user_damping: float) -> float:
    """How much of a correction the squared errors (R,) before and after it prove: from 0 to 1.

    ``1 - exp(-(E - E') / (2 s^2 effect))``, with the sums E and E' and s^2 the mean of ``before``.

    Args:
        users: of the ratings (R,), who had no part in the correction.
    """
    counts = np.unique(users, return_counts=True)[1].astype(np.float64)
    effect = design_effect(len(before), float(counts @ counts), user_damping)
    noise = max(float(before.mean()), 1e-12)
    gained = float((before - after).sum()) / (2 * noise * effect)
    return 1 - float(np.exp(-max(gained, 0.0)))


def fold_of(users: Ints, seed: int) -> Ints:
    """The fold of each user (B,), which a device computes from its number alone."""
    return (held_chance(users, users * 0, seed) * FOLDS).astype(np.int64)


def averaged_ridge(
    products: Products, free: int, effect: float, dampings: Sequence[float] = DAMPINGS
) -> Doubles:
    """Weights (p,); the first ``free`` columns are not damped.

    The weights of damping d count ``exp(-E_d / (2 s^2 effect))`` with E_d the sum of squared errors
    on users left out, and s^2 the mean squared error without the other columns.

    Args:
        effect: :meth:`Products.design_effect`.
    """
    width = products.cross.shape[1]
    damped = np.arange(width) >= free
    alone = np.zeros(width)
    alone[:free], squared = _left_out(_first(products, free), np.zeros(free))
    tried, errors = [alone], [squared]
    for damping in dampings:
        weights, squared = _left_out(products, np.where(damped, damping, 0.0))
        tried.append(weights)
        errors.append(squared)
    noise = max(errors[0] / max(products.size[:, 1].sum(), 1), 1e-12)
    odds = np.exp(-(np.array(errors) - min(errors)) / (2 * noise * effect))
    average: Doubles = odds @ np.stack(tried) / odds.sum()
    return average


def _first(products: Products, free: int) -> Products:
    return products.of_columns(np.eye(products.cross.shape[1], free))


def _left_out(products: Products, damping: Doubles) -> tuple[Doubles, float]:
    """Weights by all folds, and squared errors on each fold by weights of the others."""
    square, cross, (n_folds, *_) = (
        products.square.sum(0),
        products.cross.sum(0),
        products.cross.shape,
    )
    total, squared = products.size[:, 1].sum(), 0.0
    for fold in range(n_folds):
        own, size = products.square[fold], products.size[fold]
        share = 1 - size[1] / max(total, 1)  # of the ratings, and so of the damping
        weights = _solve(square - own, cross - products.cross[fold], damping * share)
        squared += size[0] - 2 * weights @ products.cross[fold] + weights @ own @ weights
    return _solve(square, cross, damping), float(squared)


def _solve(square: Doubles, cross: Doubles, damping: Doubles) -> Doubles:
    try:
        return np.asarray(np.linalg.solve(square + np.diag(damping), cross))
    except np.linalg.LinAlgError:  # a column that is the same for all
        return np.asarray(np.linalg.lstsq(square + np.diag(damping), cross, rcond=None)[0])
