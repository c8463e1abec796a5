"""Distributions over the scale: their means, medians and probabilities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from metaem_core.data.ratings import RatingScale
from metaem_core.evaluation.distribution import BINS, Spread, brier, calibration

SCALE = RatingScale()
DRAW = np.random.default_rng(1)
SKEWED = Spread.of(DRAW.choice([1, 2, 3, 4, 5], 4000, p=[0.05, 0.1, 0.15, 0.3, 0.4]), SCALE)


@given(st.lists(st.floats(-3, 9, width=32), min_size=1, max_size=20))
def test_the_mean_is_the_prediction_within_the_scale(means: list[float]) -> None:
    chances = SKEWED.around(np.array(means, np.float32))
    np.testing.assert_allclose(chances.sum(1), 1)
    np.testing.assert_allclose(chances @ SKEWED.values, np.clip(means, 1.004, 4.996), atol=1e-5)


@pytest.mark.parametrize("mean", [1.5, 2.9, 4.6])
def test_no_distribution_of_that_mean_is_closer_to_the_shares(mean: float) -> None:
    """By a general optimiser."""

    def divergence(logits: np.ndarray) -> float:
        chances = np.exp(logits - logits.max())
        chances /= chances.sum()
        missed = chances @ SKEWED.values - mean
        return float(chances @ np.log(chances / SKEWED.shares) + 1e4 * missed**2)

    best = minimize(divergence, np.log(SKEWED.shares), method="BFGS").x
    (ours,) = SKEWED.around(np.array([mean]))
    np.testing.assert_allclose(ours, np.exp(best) / np.exp(best).sum(), atol=2e-3)


def test_the_mean_of_all_ratings_gives_their_shares() -> None:
    (chances,) = SKEWED.around(np.array([SKEWED.shares @ SKEWED.values]))
    np.testing.assert_allclose(chances, SKEWED.shares, atol=1e-6)


def test_no_answer_has_a_smaller_absolute_error_than_the_median() -> None:
    means = DRAW.uniform(1.2, 4.9, 400)
    chances = SKEWED.around(means)
    answers = chances @ np.abs(SKEWED.values[:, None] - SKEWED.values)  # expected errors (R, L)
    places = np.searchsorted(SKEWED.values, SKEWED.medians(chances))
    np.testing.assert_allclose(answers[np.arange(400), places], answers.min(1), atol=1e-9)


def test_half_stars_and_a_value_that_nobody_gave() -> None:
    spread = Spread.of(np.array([0.5, 1.0, 1.0, 4.5]), RatingScale(0.5, 5.0, 0.5))
    assert len(spread.values) == 10
    chances = spread.around(np.array([1.0, 4.9]))
    np.testing.assert_allclose(chances @ spread.values, [1.0, 4.9], atol=1e-4)
    assert spread.medians(chances).tolist() == [1.0, 5.0]
    assert spread.above_middle(chances)[1] > 0.9


def test_probabilities_that_are_right_are_on_the_diagonal() -> None:
    chances = DRAW.uniform(0, 1, 200_000)
    happened = DRAW.random(200_000) < chances
    counted, expected, seen = calibration(chances, happened)
    assert len(counted) == BINS
    np.testing.assert_allclose(seen / counted, expected / counted, atol=0.02)
    assert brier(chances, happened) == pytest.approx(1 / 6, abs=0.005)
    assert brier(chances, happened) < brier(chances**2, happened)
    assert calibration(np.ones(3), np.ones(3, bool))[0].tolist() == [0] * (BINS - 1) + [3]
