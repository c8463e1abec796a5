"""Dampings that follow from folds of users, and the line that every domain learns of habits."""

from dataclasses import replace

import numpy as np
import pytest

from metaem_core.data.bias import fitted_biases
from metaem_core.data.ratings import Ratings
from metaem_core.data.user_profile import PROFILE_SIZE
from metaem_core.methods.metaem import habit
from metaem_core.methods.metaem.evidence import FOLDS, Products, averaged_ridge, fold_of
from metaem_core.methods.metaem.habit import HabitView, habit_line
from tests.core.test_starts import tastes_world, world

USERS, EACH = 400, 10


def rows(slope: float, alike: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A constant and four columns, of which the last matters; users' errors are ``alike``."""
    draw = np.random.default_rng(seed)
    users = np.repeat(np.arange(USERS), EACH)
    x = np.column_stack([np.ones(len(users)), draw.standard_normal((USERS, 4))[users]])
    errors = draw.standard_normal(len(users)) + alike * draw.standard_normal(USERS)[users]
    return x, 2 + slope * x[:, 4] + errors, users


def products(slope: float, alike: float = 0.0) -> Products:
    x, y, users = rows(slope, alike)
    return Products.of(x, y, users, fold_of(users, 0))


def test_folds_are_of_users_and_about_equal() -> None:
    folds = fold_of(np.arange(5000), 3)
    assert np.bincount(folds, minlength=FOLDS).min() > 900
    assert np.array_equal(folds[:70], fold_of(np.arange(70), 3))


def test_one_damping_is_a_ridge_regression_and_its_error_that_of_refits() -> None:
    """Of two dampings the average leans to the one that predicts left-out users better."""
    x, y, users = rows(slope=0.3, alike=0.5)
    folds, damped = fold_of(users, 0), np.diag([0.0, 1, 1, 1, 1])

    def refit(keep: np.ndarray, damping: float) -> np.ndarray:
        return np.asarray(
            np.linalg.solve(x[keep].T @ x[keep] + damping * damped, x[keep].T @ y[keep])
        )

    every = np.ones(len(y), bool)
    fits, errors = [], []
    for damping in (1e15, 400.0):
        fits.append(refit(every, damping))
        left_out = [folds == fold for fold in range(FOLDS)]
        shares = [damping * (~own).mean() for own in left_out]
        errors.append(
            sum(
                np.square(y[own] - x[own] @ refit(~own, share)).sum()
                for own, share in zip(left_out, shares, strict=True)
            )
        )
    odds = np.exp((errors[0] - np.array(errors)) / (2 * errors[0] / len(y) * 3.0))
    expected = odds @ np.stack(fits) / odds.sum()
    average = averaged_ridge(products(0.3, 0.5), 1, 3.0, (400.0,))
    np.testing.assert_allclose(average, expected, rtol=1e-4, atol=1e-6)
    assert odds[1] > odds[0]


def test_what_users_prove_is_kept_and_what_they_do_not_is_not() -> None:
    proven, nothing = (averaged_ridge(products(slope), 1, 1.0) for slope in (0.5, 0.0))
    assert proven[4] > 0.35  # the least damping of the grid leaves 0.4
    assert np.abs(nothing[1:]).max() < 0.02
    assert nothing[0] == pytest.approx(2, abs=0.05)


def test_ratings_of_a_user_that_are_alike_count_for_less() -> None:
    """Where each user's ratings are the same, the effect is their number."""
    sums = products(0.0)
    assert sums.design_effect(0.0) == pytest.approx(EACH)
    assert sums.design_effect(1e9) == pytest.approx(1)
    assert sums.design_effect(2.0) == pytest.approx(1 + (EACH - 1) / 3)
    some = products(0.2)
    eager, careful = (averaged_ridge(some, 1, effect)[4] for effect in (1.0, 100.0))
    assert 0 < careful < 0.9 * eager


def test_users_one_by_one_add_up_to_the_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    ratings = tastes_world(5, np.random.default_rng(5).uniform(-1, 2, 60), 40)
    view = HabitView.of(ratings, fitted_biases(ratings))
    together = view.products(ratings, np.arange(60))
    alone = []
    for user in range(60):
        own = ratings.where(ratings.users == user)
        own = Ratings(own.users * 0, own.items, own.values, 1, own.n_items)
        alone.append(view.products(own, np.array([user])))
    for one, other in zip(Products.summed(alone), together, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)
    line = habit_line(ratings)
    monkeypatch.setattr(habit, "AT_ONCE", 50)
    np.testing.assert_allclose(habit_line(ratings), line, rtol=1e-6, atol=1e-9)


def test_a_habit_is_learnt_from_the_other_half_of_a_users_ratings() -> None:
    """Some follow the item biases, some do the opposite: a profile's fourth number says which."""
    follows = np.random.default_rng(11).uniform(-1, 3, 400)
    line = habit_line(tastes_world(12, follows, 40, noise=0.5)).reshape(3, PROFILE_SIZE + 1)
    agreement = line[1, 4]  # of the item's bias times the agreement with item biases
    others = np.delete(line.ravel(), PROFILE_SIZE + 1 + 4)
    assert agreement > 5 * np.abs(others[2:]).max()


def test_where_ratings_hold_biases_alone_the_line_is_the_bias() -> None:
    ratings = world(21, 600, 60, 0.7)
    line = habit_line(ratings)
    bias = fitted_biases(ratings).user.std()
    assert line[1] == pytest.approx(bias, rel=0.15)
    assert np.abs(np.delete(line, 1)).max() < 0.1 * bias


def test_a_rating_says_nothing_of_itself() -> None:
    """Ratings are noise: a line that read a rating from its own profile would find it."""
    ratings = world(22, 300, 50, 0.0)
    noise = np.random.default_rng(3).standard_normal(len(ratings)).astype(np.float32)
    line = habit_line(replace(ratings, values=3 + noise))
    assert np.abs(line).max() < 0.1
