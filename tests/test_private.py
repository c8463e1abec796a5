"""Differential privacy: what one user can change, how much noise covers it, what is left of use."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_trivial import planted
from worlds import planted_ratings, random_ratings

from metaem_core.federated.noisy_sums import NoisyDevice, SecureSums
from metaem_core.federated.secure_aggregation import TooFewDevices
from metaem_core.methods.cold_start import cold_predictor
from metaem_core.methods.private_biases import (
    SUMS,
    ItemPart,
    NoisyItems,
    SimulatedSums,
    domain_sum,
    item_part,
    private_items,
)
from metaem_core.methods.private_config import PrivateConfig
from metaem_core.methods.private_metaem import SHARES as STAGES
from metaem_core.methods.private_metaem import (
    line_sum,
    private_domain,
    private_line,
    private_mapping,
    releases,
)
from metaem_core.methods.trivial import TRIVIAL
from metaem_core.metrics import rmse
from metaem_core.models.mapping import map_users
from metaem_core.pair import DomainPair, Queries
from metaem_core.privacy.gaussian import (
    Release,
    Releases,
    delta_of,
    epsilon_by_losses,
    epsilon_of,
    mu_of,
)
from metaem_core.privacy.membership import Canaries, inferred
from metaem_core.ratings import Ratings, RatingScale
from metaem_core.synthetic import SyntheticConfig

SCALE = RatingScale()
DELTA = 1e-6


def told_apart(mu: float, epsilon: float) -> float:
    """What delta is by definition: the integral of (p - e^epsilon q)+ for N(mu, 1) and N(0, 1)."""
    x = np.linspace(-12, mu + 12, 400_001)
    p, q = (np.exp(-((x - m) ** 2) / 2) / math.sqrt(2 * math.pi) for m in (mu, 0.0))
    return float(np.trapezoid(np.maximum(p - math.exp(epsilon) * q, 0), x))


@pytest.mark.parametrize(("mu", "epsilon"), [(0.2, 0.5), (0.5, 1.0), (1.0, 1.0), (2.0, 8.0)])
def test_the_closed_form_is_the_definition(mu: float, epsilon: float) -> None:
    assert delta_of(mu, epsilon) == pytest.approx(told_apart(mu, epsilon), rel=1e-5)


@settings(deadline=None, max_examples=50)
@given(st.floats(0.01, 20), st.floats(1e-9, 1e-3))
def test_a_budget_is_used_up_and_not_passed(epsilon: float, delta: float) -> None:
    mu = mu_of(epsilon, delta)
    assert delta_of(mu, epsilon) <= delta * (1 + 1e-6)
    assert delta_of(mu * 1.001, epsilon) > delta
    assert epsilon_of(mu, delta) == pytest.approx(epsilon, rel=1e-5)


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 4.0, 8.0])
def test_two_accountants_agree_on_all_that_a_run_releases(epsilon: float) -> None:
    config = PrivateConfig(epsilon, DELTA)
    made = []
    for part, share in STAGES.items():
        own = releases(config, part)
        for name in SUMS:
            if (name == "line") == (part == "mapping"):
                own.noisy(name, np.zeros(1), *SUMS[name])
        assert sum(release.mu**2 for release in own.made) == pytest.approx(own.mu**2)
        assert own.mu**2 == pytest.approx(share * mu_of(epsilon, DELTA) ** 2)
        made += own.made
    assert sum(STAGES.values()) == pytest.approx(1)
    assert epsilon_by_losses(made, DELTA) == pytest.approx(epsilon, rel=1e-4)
    louder = [Release(r.name, r.clip, r.deviation * 0.9) for r in made]
    assert epsilon_by_losses(louder, DELTA) > epsilon * 1.05


def test_noise_is_as_wide_as_the_record_says_and_a_stage_cannot_overspend() -> None:
    own = Releases(0.5, np.random.default_rng(1))
    noise = own.noisy("first", np.full(200_000, 7.0), 2.0, 0.64) - 7.0
    (release,) = own.made
    assert release.mu == pytest.approx(0.4)
    assert noise.std() == pytest.approx(release.deviation, rel=0.01)
    assert abs(noise.mean()) < 5 * release.deviation / math.sqrt(200_000)
    own.noisy("rest", np.zeros(1), 1.0, 0.36)
    with pytest.raises(ValueError, match="'more' spends more than the budget"):
        own.noisy("more", np.zeros(1), 1.0, 0.01)


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


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.booleans(), st.floats(-2, 2))
def test_no_user_changes_a_sum_by_more_than_its_clip(seed: int, wild: bool, mean: float) -> None:
    ratings = random_ratings(12, 9, 4.0, seed)
    ratings = extreme(ratings) if wild else ratings
    draw = np.random.default_rng(seed)
    known = draw.normal(0, 2, ratings.n_items)
    items = NoisyItems(mean, known, draw.normal(0, 9, 9), draw.uniform(1, 9, 9), 0.5)
    everyone, biases = np.arange(ratings.n_users), draw.normal(0, 2, ratings.n_users)

    def added(name: str, target: Ratings) -> NDArray[np.float64]:
        if name != "line":
            return domain_sum(target, SCALE, name, items)
        return line_sum(DomainPair(target, target, everyone, everyone), biases, SCALE, name, items)

    for user in range(ratings.n_users):
        less = without(ratings, user)

        for name, most in SUMS.items():
            changed = added(name, ratings) - added(name, less)
            assert np.linalg.norm(changed) <= most.clip * (1 + 1e-9), name


def test_clips_are_reached_so_that_no_budget_is_given_away() -> None:
    ratings = extreme(random_ratings(12, 9, 4.0, seed=3))
    less = without(ratings, 1)
    parts = [item_part(each, SCALE, 0.0, np.zeros(9)) for each in (ratings, less)]
    changed = parts[0].sums(ratings) - parts[1].sums(less)
    assert np.linalg.norm(changed) == pytest.approx(SUMS["items, first"].clip)


def test_a_bias_without_a_rating_is_that_of_sums_without_its_part() -> None:
    ratings = random_ratings(30, 9, 6.0, seed=4)
    part = item_part(ratings, SCALE, 0.3, np.zeros(9))
    total, count = part.sums(ratings)
    items = NoisyItems(0.3, np.zeros(9), total, count / 0.4 + 1, 0.7)
    found = items.bias_without(ratings.items, part)
    for row in (0, 5, 40):
        weights = part.weights.copy()
        weights[row] = 0.0
        total, count = ItemPart(weights, part.residuals).sums(ratings)
        alone = NoisyItems(0.3, np.zeros(9), total, count / 0.4 + 1, 0.7)
        assert found[row] == pytest.approx(alone.bias[ratings.items[row]], rel=1e-9)


def predicted(pair: DomainPair, queries: Queries, epsilon: float, seed: int) -> float:
    config = PrivateConfig(epsilon, DELTA, seed=seed)
    source, _ = private_domain(pair.source, config, releases(config, "source"))
    target, items = private_domain(pair.target, config, releases(config, "target"))
    profiles = source.profiles(torch.arange(pair.source.n_users))
    theta = private_mapping(profiles, items, pair, config, releases(config, "mapping"))
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
    usual, other = (
        private_domain(ratings, config, releases(config, "target"))[0]
        for ratings, config in (
            (world, PrivateConfig(2.0, DELTA)),
            (
                replace(world, values=2 * world.values),
                PrivateConfig(2.0, DELTA, RatingScale(2.0, 10.0, 2.0)),
            ),
        )
    )
    torch.testing.assert_close(2 * usual.item_offsets, other.item_offsets)
    torch.testing.assert_close(2 * usual.user_traits, other.user_traits)


def test_canaries_are_found_without_noise_and_not_with_it() -> None:
    world = planted_ratings(1.0)
    canaries = Canaries.drawn(400, 14, world.n_items, SCALE, seed=1)
    among = canaries.among(world)

    def attacked(epsilon: float) -> float:
        config = PrivateConfig(epsilon, DELTA, seed=5)
        sums = SimulatedSums(partial(domain_sum, among, SCALE), releases(config, "target"))
        items = private_items(sums, among.n_items)
        return inferred(canaries, items.bias.astype(np.float32)).auc

    assert attacked(math.inf) > 0.7
    assert abs(attacked(1.0) - 0.5) < 0.08  # three deviations of an AUC of 200 against 200 are .087


def devices_of(ratings: Ratings, biases: NDArray[np.float64]) -> dict[int, NoisyDevice]:
    return {
        user: NoisyDevice(
            Ratings(
                np.zeros(int(mine.sum()), np.int64),
                ratings.items[mine],
                ratings.values[mine],
                1,
                ratings.n_items,
            ),
            SCALE,
            float(biases[user]),
        )
        for user in np.unique(ratings.users).tolist()
        for mine in [ratings.users == user]
    }


def test_devices_that_add_up_under_masks_find_what_the_simulation_finds() -> None:
    ratings = random_ratings(30, 9, 5.0, seed=6)
    biases = np.random.default_rng(6).normal(0, 0.5, ratings.n_users)
    everyone = np.arange(ratings.n_users)
    pair = DomainPair(ratings, ratings, everyone, everyone)

    def budget() -> Releases:
        return Releases(math.inf, np.random.default_rng(0))

    simulated = private_items(SimulatedSums(partial(domain_sum, ratings, SCALE), budget()), 9)
    devices = devices_of(ratings, biases)
    federated = private_items(SecureSums(devices, budget()), 9)
    # words are whole multiples of a unit, rounded by chance: 3e-6 with 29 devices
    for name in ("mean", "first", "total", "weight"):
        np.testing.assert_allclose(
            getattr(federated, name), getattr(simulated, name), atol=1e-3, err_msg=name
        )
    add = partial(line_sum, pair, biases, SCALE)
    expected = private_line(SimulatedSums(add, budget()), simulated)
    found = private_line(SecureSums(devices, budget()), simulated)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("silent", [0, 9])
def test_the_noise_that_devices_bring_is_enough_even_if_a_third_leaves(silent: int) -> None:
    ratings = random_ratings(31, 800, 5.0, seed=7)
    devices = devices_of(ratings, np.zeros(31))
    leavers = dict.fromkeys(sorted(devices)[:silent], 3)
    left = ratings.of_users(~np.isin(np.arange(31), list(leavers)))
    known = NoisyItems(0.3, np.zeros(800), np.zeros(800), np.ones(800), 0.0)
    sums = SecureSums(devices, Releases(0.05, np.random.default_rng(0)), leavers)
    noisy, told = sums.ask("items, first", known)
    noise = (noisy - domain_sum(left, SCALE, "items, first", known)).ravel()
    brought = told * math.sqrt((len(devices) - silent) / (len(devices) * 2 / 3))
    assert noise.std() == pytest.approx(brought, rel=0.1)  # of 1,600 numbers: 1.8 % a deviation
    assert brought >= told
    assert told == pytest.approx(1 / (0.05 * math.sqrt(0.38)))


def test_a_sum_with_too_little_noise_is_never_opened() -> None:
    ratings = random_ratings(31, 9, 5.0, seed=8)
    devices = devices_of(ratings, np.zeros(31))
    sums = SecureSums(
        devices,
        Releases(0.5, np.random.default_rng(0)),
        dict.fromkeys(sorted(devices)[:12], 3),
    )
    with pytest.raises(TooFewDevices, match="18 devices sent a vector, at least 20 must"):
        private_items(sums, 9)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ((0.0, 1e-6), "epsilon must be positive"),
        ((math.nan, 1e-6), "epsilon must be positive"),
        ((1.0, 0.0), "delta must lie strictly"),
    ],
)
def test_budgets_that_mean_nothing_are_refused(told: tuple[float, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PrivateConfig(*told)


def test_a_delta_that_lets_a_user_out_is_refused() -> None:
    ratings = random_ratings(200, 9, 4.0, seed=0)
    config = PrivateConfig(1.0, 0.01)
    with pytest.raises(ValueError, match=r"delta 0\.01 must be below one over the users"):
        private_domain(ratings, config, releases(config, "source"))
