"""Differential privacy: what one user can change, how much noise covers it, what is left of use."""

import math
from dataclasses import replace
from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from metaem_core.config.dp import PrivateConfig
from metaem_core.data.pair import DomainPair, Queries
from metaem_core.data.ratings import Ratings, RatingScale
from metaem_core.evaluation.metrics import rmse
from metaem_core.methods.baselines.trivial import TRIVIAL
from metaem_core.methods.metaem.cold_start import cold_predictor
from metaem_core.models.mapping import map_users
from metaem_core.models.metaem import DomainModel
from metaem_core.models.mlp import Parameters
from metaem_core.privacy.attacks.membership import Canaries, inferred
from metaem_core.privacy.dp.bias_transfer import SHARES as STAGES
from metaem_core.privacy.dp.bias_transfer import (
    dp_bias_domain,
    dp_bias_line,
    dp_bias_mapping,
    line_sum,
    releases,
)
from metaem_core.privacy.dp.biases import SUMS, domain_sum, dp_item_levels, noisy_sums
from metaem_core.privacy.dp.gaussian import (
    GRID,
    Release,
    Releases,
    delta_of,
    epsilon_by_losses,
    epsilon_of,
    mu_of,
)
from metaem_core.synthetic.world import SyntheticConfig
from tests.core.test_trivial import planted
from tests.support.worlds import planted_ratings, random_ratings

SCALE = RatingScale()
DELTA = 1e-6


def delta_by_integration(mu: float, epsilon: float) -> float:
    """What delta is by definition: the integral of (p - e^epsilon q)+ for N(mu, 1) and N(0, 1)."""
    x = np.linspace(-12, mu + 12, 400_001)
    p, q = (np.exp(-((x - m) ** 2) / 2) / math.sqrt(2 * math.pi) for m in (mu, 0.0))
    return float(np.trapezoid(np.maximum(p - math.exp(epsilon) * q, 0), x))


@pytest.mark.parametrize(("mu", "epsilon"), [(0.2, 0.5), (0.5, 1.0), (1.0, 1.0), (2.0, 8.0)])
def test_the_closed_form_is_the_definition(mu: float, epsilon: float) -> None:
    assert delta_of(mu, epsilon) == pytest.approx(delta_by_integration(mu, epsilon), rel=1e-5)


@settings(max_examples=50)
@given(st.floats(0.01, 20), st.floats(1e-9, 1e-3))
def test_a_budget_is_used_up_and_not_passed(epsilon: float, delta: float) -> None:
    mu = mu_of(epsilon, delta)
    assert delta_of(mu, epsilon) <= delta * (1 + 1e-6)
    assert delta_of(mu * 1.001, epsilon) > delta
    assert epsilon_of(mu, delta) == pytest.approx(epsilon, rel=1e-5)


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 4.0, 8.0])
def test_two_accountants_agree_on_all_that_a_run_releases(epsilon: float) -> None:
    config = PrivateConfig(epsilon, DELTA)
    spent = []
    for part, share in STAGES.items():
        own = releases(config, part, random_ratings(9, 9, 4.0, 0))
        for name in SUMS:
            if (name == "line") == (part == "mapping"):
                own.noisy(name, np.zeros(1), *SUMS[name])
        assert sum(release.mu**2 for release in own.log) == pytest.approx(own.mu**2)
        assert own.mu**2 == pytest.approx(share * mu_of(epsilon, DELTA) ** 2)
        spent += own.log
    assert sum(STAGES.values()) == pytest.approx(1)
    assert epsilon_by_losses(spent, DELTA) == pytest.approx(epsilon, rel=1e-4)
    louder = [Release(r.name, r.clip, r.deviation * 0.9) for r in spent]
    assert epsilon_by_losses(louder, DELTA) > epsilon * 1.05


def test_noise_is_as_wide_as_the_record_says_and_a_stage_cannot_overspend() -> None:
    own = Releases(0.5, np.random.default_rng(1))
    noise = own.noisy("first", np.full(200_000, 7.0), 2.0, 0.64) - 7.0
    (release,) = own.log
    assert release.mu == pytest.approx(0.4)
    assert noise.std() == pytest.approx(release.deviation, rel=0.01)
    assert abs(noise.mean()) < 5 * release.deviation / math.sqrt(200_000)
    own.noisy("rest", np.zeros(1), 1.0, 0.36)
    with pytest.raises(ValueError, match="'more' spends more than the budget"):
        own.noisy("more", np.zeros(1), 1.0, 0.01)


def test_a_release_lies_on_a_grid_that_noise_and_sum_are_rounded_to_apart() -> None:
    """Else the last bits of a float tell which sums it can be of."""
    own = Releases(0.5, np.random.default_rng(1))
    totals = np.random.default_rng(2).normal(0, 5, 2_000)
    released = own.noisy("sum", totals, 1.0, 1.0)
    steps = released / (GRID * own.log[0].deviation)
    assert np.array_equal(steps, np.rint(steps))
    assert np.abs(steps).max() < 2**53
    # a part may be longer by a step a number, and is accounted so
    assert own.log[0].clip >= 1.0 + math.sqrt(2_000) * GRID * own.log[0].deviation * (1 - 1e-9)
    assert own.log[0].mu <= 0.5


def test_no_two_releases_that_differ_share_their_noise() -> None:
    """Neither stages, budgets, seeds nor data: what is shared could be taken off."""
    world = planted_ratings(1.0)
    less = without(world, 5)
    config = PrivateConfig(4.0, DELTA, seed=1)
    ways = [
        releases(config, "source", world),
        releases(config, "target", world),
        releases(replace(config, delta=1e-7), "source", world),
        releases(replace(config, epsilon=8.0), "source", world),
        releases(replace(config, seed=2), "source", world),
        releases(config, "source", less),
    ]
    drawn = [each.draw.normal(size=4000) for each in ways]
    for one, other in combinations(drawn, 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.08  # five deviations
    again = releases(config, "source", world)
    assert np.array_equal(again.draw.normal(size=4000), drawn[0])
    one, other = releases(config, "source", world), releases(config, "source", world)
    first = one.noisy("a", np.zeros(4000), 1.0, 0.5), one.noisy("b", np.zeros(4000), 1.0, 0.5)
    assert abs(np.corrcoef(*first)[0, 1]) < 0.08
    assert np.array_equal(other.noisy("a", np.zeros(4000), 1.0, 0.5), first[0])


def test_noise_is_the_same_in_every_version() -> None:
    one = Ratings(np.array([0]), np.array([0]), np.array([3], np.float32), 1, 1)
    drawn = releases(PrivateConfig(1.0, 1e-5), "source", one).draw.normal()
    assert drawn == pytest.approx(-1.7304297539641573)


def without(ratings: Ratings, user: int) -> Ratings:
    return ratings.of_users(np.arange(ratings.n_users) != user)


def extreme(ratings: Ratings) -> Ratings:
    """User 1 gives every item the lowest or highest star, against what the others think."""
    others = without(ratings, 1)
    items = np.arange(ratings.n_items)
    stars = np.where(items % 2, 1, 5).astype(np.float32)
    order = np.argsort(np.append(others.users, items * 0 + 1), kind="stable")
    return replace(
        ratings,
        users=np.append(others.users, items * 0 + 1)[order],
        items=np.append(others.items, items)[order],
        values=np.append(others.values, stars)[order],
    )


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([1.0, 100.0]))
def test_no_user_changes_a_sum_by_more_than_its_clip(seed: int, wild: bool, off: float) -> None:
    """Not even with ratings beyond the scale."""
    ratings = random_ratings(12, 9, 4.0, seed)
    ratings = extreme(ratings) if wild else ratings
    ratings = replace(ratings, values=ratings.values * np.float32(off))
    draw = np.random.default_rng(seed)
    levels, biases = draw.normal(0, 2, 9), draw.normal(0, 2, ratings.n_users)
    for user in range(ratings.n_users):
        less = without(ratings, user)
        for name, most in SUMS.items():
            changed = added(name, ratings, biases, levels) - added(name, less, biases, levels)
            assert np.linalg.norm(changed) <= most.clip * (1 + 1e-9), name


def added(
    name: str, ratings: Ratings, biases: NDArray[np.float64], levels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """One of the sums; that of the line over users with these source biases."""
    if name != "line":
        return domain_sum(ratings, SCALE, name, levels)
    everyone = np.arange(ratings.n_users)
    return line_sum(DomainPair(ratings, ratings, everyone, everyone), biases, SCALE, name, levels)


@pytest.mark.parametrize("name", SUMS)
def test_clips_are_reached_so_that_no_budget_is_given_away(name: str) -> None:
    ratings = extreme(random_ratings(12, 9, 4.0, seed=3))
    if name == "mean":
        ratings = replace(ratings, values=np.full_like(ratings.values, 5.0))
    sums = [
        added(name, each, np.full(12, 3.0), np.zeros(9)) for each in (ratings, without(ratings, 1))
    ]
    assert np.linalg.norm(sums[0] - sums[1]) == pytest.approx(SUMS[name].clip)


def test_each_sum_over_items_brings_their_levels_closer() -> None:
    world = planted_ratings(1.0)
    budget = Releases(math.inf, np.random.default_rng(0))
    noisy, guesses = noisy_sums(partial(domain_sum, world, SCALE), budget), []

    def listening(name: str, known: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        guesses.append(known)
        return noisy(name, known)

    guesses.append(dp_item_levels(listening, world.n_items))
    truth = np.bincount(world.items, world.values - 3.0) / np.bincount(world.items)
    often = np.bincount(world.items) > 20
    nothing, mean, first, again = (np.abs(guess - truth)[often].mean() for guess in guesses)
    assert nothing > mean > first > again


def test_a_line_through_noise_is_still_a_line() -> None:
    noise = np.array([-50.0, 90.0, -80.0, 7.0, -9.0]), 10.0
    line = dp_bias_line(lambda name, levels: noise, np.zeros(3))
    assert abs(line.constant) < 2
    assert abs(line.slope) < 5


def test_a_mean_out_of_noise_stays_on_the_scale() -> None:
    def noise(name: str, levels: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        return (np.array([900.0, -5.0]) if name == "mean" else np.zeros((2, 3))), 50.0

    assert np.array_equal(dp_item_levels(noise, 3), [2.0, 2.0, 2.0])


def mapped(
    pair: DomainPair, epsilon: float, seed: int
) -> tuple[torch.Tensor, DomainModel, Parameters]:
    """Source vectors, the target and f_theta of a run."""
    config = PrivateConfig(epsilon, DELTA, seed=seed)
    source = dp_bias_domain(pair.source, config, releases(config, "source", pair.source))
    target = dp_bias_domain(pair.target, config, releases(config, "target", pair.target))
    profiles = source.source_vectors(torch.arange(pair.source.n_users))
    budget = releases(config, "mapping", pair.source, pair.target)
    return profiles, target, dp_bias_mapping(profiles, target, pair, config, budget)


def test_without_noise_the_line_is_recovered() -> None:
    """Target ratings are their item's level, 0.2 and -0.4 times the user's source bias."""
    pair, _ = planted(SyntheticConfig(), 0.5)
    profiles, target, _ = mapped(pair, math.inf, 0)
    overlap, users = pair.overlap_ratings()
    bias, level = profiles[users, 1].numpy(), target.item_offsets.numpy()[overlap.items]
    exact = replace(pair, target=replace(overlap, values=level + 0.2 - 0.4 * bias))
    config = PrivateConfig(math.inf, DELTA)
    theta = dp_bias_mapping(profiles, target, exact, config, releases(config, "mapping"))
    assert float(theta[2][1, 1]) == pytest.approx(-0.4, abs=0.01)
    assert float(theta[3][1]) == pytest.approx(0.2, abs=0.01)


def predicted(pair: DomainPair, queries: Queries, epsilon: float, seed: int) -> float:
    profiles, target, theta = mapped(pair, epsilon, seed)
    predict = cold_predictor(lambda users: map_users(theta, profiles[users]), target)
    return rmse(np.clip(predict(queries.users, queries.items), 1, 5), queries.values)


def test_noise_costs_accuracy_and_leaves_some() -> None:
    pair, queries = planted(SyntheticConfig(), 0.5)
    mean = {
        epsilon: np.mean([predicted(pair, queries, epsilon, seed) for seed in range(4)])
        for epsilon in (0.1, 1.0, 8.0, math.inf)
    }
    constant, transfer = (
        rmse(np.clip(TRIVIAL[name](pair)(queries.users, queries.items), 1, 5), queries.values)
        for name in ("global_mean", "bias_transfer")
    )
    assert mean[math.inf] < mean[8.0] < mean[1.0] < mean[0.1]
    assert mean[1.0] < constant
    assert abs(mean[math.inf] - transfer) < 0.25 * (constant - transfer)


def test_another_scale_gives_the_same_in_its_own_units() -> None:
    world = planted_ratings(1.0)
    config = PrivateConfig(2.0, DELTA)
    usual = dp_bias_domain(world, config, releases(config, "target", world))
    other = dp_bias_domain(
        replace(world, values=2 * world.values),
        replace(config, scale=RatingScale(2.0, 10.0, 2.0)),
        releases(config, "target", world),
    )
    torch.testing.assert_close(2 * usual.item_offsets, other.item_offsets)
    torch.testing.assert_close(2 * usual.user_profiles, other.user_profiles)


def test_canaries_are_recognised_without_noise_and_not_with_it() -> None:
    world = random_ratings(n_users=2000, n_items=2600, mean_count=8, seed=1)
    canaries = Canaries.drawn(400, 14, world.n_items, SCALE, seed=1)
    among = canaries.among(world)

    def attacked(epsilon: float) -> float:
        config = PrivateConfig(epsilon, DELTA, seed=5)
        budget = releases(config, "target", among)
        noisy = noisy_sums(partial(domain_sum, among, SCALE), budget)
        levels = dp_item_levels(noisy, among.n_items)
        return inferred(canaries, levels.astype(np.float32)).auc

    assert attacked(math.inf) > 0.75
    assert abs(attacked(1.0) - 0.5) < 0.09  # three deviations of 200 against 200


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ((0.0, 1e-6), "epsilon must be positive"),
        ((math.nan, 1e-6), "epsilon must be positive"),
        ((1.0, 0.0), "delta must lie strictly"),
    ],
)
def test_budgets_that_mean_nothing_are_refused(budget: tuple[float, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PrivateConfig(*budget)


def test_a_delta_that_lets_a_user_out_is_refused() -> None:
    ratings = random_ratings(200, 9, 4.0, seed=0)
    config = PrivateConfig(1.0, 0.01)
    with pytest.raises(ValueError, match=r"delta 0\.01 must be below one over the users"):
        dp_bias_domain(ratings, config, releases(config, "source", ratings))
