import numpy as np
import pytest

from metaem_core.data.bias import (
    damped_item_bias,
    damped_mean,
    fitted_biases,
)
from metaem_core.data.ratings import Ratings


def small() -> Ratings:
    """Three users, four items; the last item and the last user are not rated."""
    return Ratings(
        users=np.array([0, 0, 0, 1, 1]),
        items=np.array([0, 1, 2, 0, 2]),
        values=np.array([5, 3, 4, 4, 1], dtype=np.float32),
        n_users=3,
        n_items=4,
    )


def test_damped_mean_by_hand() -> None:
    means = damped_mean(np.array([0, 0, 2]), np.array([1.0, 2.0, 4.0]), 4, damping=2.0)
    assert means.tolist() == [3 / 4, 0, 4 / 3, 0]
    assert damped_mean(np.array([1]), np.array([4.0]), 2, damping=0.0).tolist() == [0, 4]


def test_damped_item_bias_by_hand() -> None:
    mean, bias = damped_item_bias(small())
    assert mean == pytest.approx(17 / 5)
    assert bias == pytest.approx([2.2 / 12, -0.4 / 11, -1.8 / 12, 0], abs=1e-6)


def test_biases_solve_the_damped_least_squares_problem() -> None:
    """An independent solution: one dense ridge regression on user and item indicators."""
    ratings, user_damping, item_damping = small(), 6.0, 4.0
    design = np.zeros((len(ratings), 7))
    design[np.arange(len(ratings)), ratings.users] = 1
    design[np.arange(len(ratings)), 3 + ratings.items] = 1
    penalty = np.diag([user_damping] * 3 + [item_damping] * 4)
    centred = ratings.values - ratings.values.mean()
    expected = np.linalg.solve(design.T @ design + penalty, design.T @ centred)
    biases = fitted_biases(ratings, item_damping, user_damping)
    np.testing.assert_allclose(np.concatenate([biases.user, biases.item]), expected, atol=1e-6)
    np.testing.assert_allclose(biases.residuals(ratings), centred - design @ expected, atol=1e-6)


def test_a_domain_without_ratings_is_refused() -> None:
    nothing = small().of_users(np.zeros(3, dtype=bool))
    with pytest.raises(ValueError, match="without ratings has no mean"):
        damped_item_bias(nothing)
