"""The calibrated reading begins at bias transfer and keeps a share of what it learns beyond."""

from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from metaem_core.config.mapping import MappingConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.bias import fit_line, fitted_biases
from metaem_core.data.pair import DomainPair, Queries
from metaem_core.data.ratings import Ratings
from metaem_core.data.user_profile import PROFILE_SIZE, ItemScale, ProfileStatistics
from metaem_core.methods.baselines.trivial import bias_transfer_fitted
from metaem_core.methods.metaem.cold_start import cold_predictor
from metaem_core.methods.metaem.evidence import Products, fold_of, proven
from metaem_core.methods.metaem.habit import LINE_SIZE
from metaem_core.methods.metaem.mapping import MappingTraining
from metaem_core.methods.metaem.mapping_start import (
    OverlapSums,
    SourceView,
    TargetView,
    transfer_lines,
)
from metaem_core.methods.metaem.pretraining import Pretraining
from metaem_core.models.mapping import map_users
from metaem_core.training.epochs import Divergence
from tests.support.networks import sequential
from tests.support.worlds import from_table

CONFIG = PretrainConfig(epochs=1, hidden_size=16)


def world(
    seed: int, n_users: int, n_items: int, spread: float, bias: np.ndarray | None = None
) -> Ratings:
    """Users and items with biases of the same spread, or this ``bias``; noise 1, nothing else."""
    draw = np.random.default_rng(seed)
    rated = draw.random((n_users, n_items)) < 0.4
    users, items = rated.nonzero()
    own = spread * draw.standard_normal(n_users) if bias is None else bias
    opinion = 3 + own[users]
    opinion += (spread * draw.standard_normal(n_items))[items]
    values = (opinion + draw.standard_normal(len(users))).astype(np.float32)
    return Ratings(users, items, values, n_users, n_items)


def tastes_world(seed: int, taste: np.ndarray, n_items: int, noise: float = 0.3) -> Ratings:
    """Ratings of nothing but one dimension of taste and a little noise."""
    draw = np.random.default_rng(seed)
    users, items = (draw.random((len(taste), n_items)) < 0.4).nonzero()
    opinion = 3 + taste[users] * draw.standard_normal(n_items)[items]
    values = (opinion + noise * draw.standard_normal(len(users))).astype(np.float32)
    return Ratings(users, items, values, len(taste), n_items)


def parted(source: Ratings, target: Ratings, first: int, cold: int) -> tuple[DomainPair, Queries]:
    """Users from ``first`` on are trained on in both domains, those from ``cold`` on are cold."""
    held = np.arange(target.n_users) >= cold
    own, trainees = target.of_users(held), np.arange(first, cold)
    pair = DomainPair(source, target.of_users(~held), trainees, trainees)
    return pair, Queries(own.users, own.items, own.values)


def shared_world() -> tuple[DomainPair, Queries]:
    return parted(world(1, 80, 30, 0.7), world(2, 80, 40, 0.7), 10, 60)


def mapping(config: MappingConfig) -> tuple[MappingTraining, DomainPair, Queries]:
    pair, cold = shared_world()
    return mapped(config, pair, cold), pair, cold


def mapped(
    config: MappingConfig,
    pair: DomainPair,
    cold: Queries,
    rate: float = 1e-2,
    pretrain: PretrainConfig = CONFIG,
) -> MappingTraining:
    source, target = (Pretraining(pretrain, each).model() for each in (pair.source, pair.target))
    vectors = source.source_vectors(torch.arange(pair.source.n_users))
    return MappingTraining(config, rate, vectors, target, pair, cold)


def predicted(work: MappingTraining, cold: Queries) -> np.ndarray:
    return cold_predictor(work.map_users, work.target)(cold.users, cold.items)


def test_a_rating_that_everybody_gives_is_predicted() -> None:
    pair, cold = shared_world()
    source, target = (
        replace(each, values=np.full_like(each.values, 4)) for each in (pair.source, pair.target)
    )
    work = mapped(MappingConfig(), replace(pair, source=source, target=target), cold)
    np.testing.assert_allclose(predicted(work, cold), 4, atol=1e-3)


def test_where_users_differ_in_bias_alone_the_start_is_bias_transfer() -> None:
    """Taste and the rest of the profile are noise, and count for next to nothing."""
    bias = 0.7 * np.random.default_rng(7).standard_normal(260)
    source, target = (world(seed, 260, 40, 0.7, bias) for seed in (8, 9))
    pair, cold = parted(source, target, 0, 200)
    work, transfer = mapped(MappingConfig(), pair, cold), bias_transfer_fitted(pair)
    apart = predicted(work, cold) - transfer(cold.users, cold.items)
    assert np.square(apart).mean() < 0.02 * np.square(bias).mean()


TARGET = TargetView(
    mean=3.0,
    bias=np.zeros(1, np.float32),
    counts=np.array([3]),
    damping=2.0,
    user_damping=1.0,
    scale=ItemScale(bias=1.0, mean=0.0, deviation=1.0),
    directions=torch.ones(1, 1),
    items=torch.ones(1, 1),
    line=np.eye(1, LINE_SIZE, 1)[0],
)


@pytest.mark.parametrize("value", [1.0, 5.0])
def test_item_features_never_hold_the_rating_they_explain(value: float) -> None:
    """Three users rate an item; the first one's regressors are those of the other two ratings."""
    mean, damping, user_bias = TARGET.mean, TARGET.damping, 0.5
    residuals = np.array([value - mean - user_bias, 0.25, 1.25])
    bias = np.array([residuals.sum() / (3 + damping)], np.float32)
    target = TARGET._replace(bias=bias)
    width = 1 + PROFILE_SIZE
    one, nobody = torch.ones(width), np.array([0])
    source = SourceView(torch.zeros(width), one, torch.ones(1, 1), np.zeros(LINE_SIZE))
    own = np.array([user_bias], np.float32), nobody, nobody, np.array([value], np.float32)
    by_fold = OverlapSums(source, target, torch.zeros(1, width), *own).profile_products()
    x, y = by_fold.square.sum(0), by_fold.cross.sum(0)
    features = [1.0, 1.5 / (2 + damping), np.log1p(2)]
    constant = PROFILE_SIZE + 1  # columns of a feature: a constant, then the profile, here zero
    np.testing.assert_allclose(x[0, ::constant], features, rtol=1e-6)
    np.testing.assert_allclose(y[0], value - mean - features[1], rtol=1e-6)


@dataclass(frozen=True)
class PlantedSums:
    """Of users whose residuals are these ``weights`` times a random design, exactly."""

    weights: np.ndarray  # of three item features times a constant and the profile (36,)

    def profile_products(self) -> Products:
        x, users = np.random.default_rng(3).normal(size=(50, len(self.weights))), np.arange(50)
        return Products.of(x, x @ self.weights, users, fold_of(users, 0))

    def taste_products(self, weights: np.ndarray) -> Products:
        users = np.arange(50)
        return Products.of(np.ones((50, 1)), np.zeros(50), users, fold_of(users, 0))


def test_a_constant_and_the_habit_line_are_transferred_in_full() -> None:
    """Both domains say that the bias alone counts; the overlap says by how much."""
    weights = np.zeros(3 * (PROFILE_SIZE + 1))
    weights[:2] = 0.7, 1.5
    width = 1 + PROFILE_SIZE
    source = SourceView(torch.zeros(width), torch.ones(width), torch.ones(1, 1), TARGET.line)
    _, _, weight, constant, _ = transfer_lines(source, TARGET, PlantedSums(weights))
    torch.testing.assert_close(constant, torch.tensor([0, 0.7, 0, 0]))
    wanted = torch.zeros(4, width)
    wanted[1, 1] = 1.5
    torch.testing.assert_close(weight, wanted)


def test_a_profile_that_matters_in_both_domains_is_transferred() -> None:
    """Users who follow the item biases much, or not at all, do so in the other domain too."""
    follows = np.random.default_rng(11).uniform(-1, 3, 240)
    source, target = (tastes_world(seed, follows, 40, noise=0.5) for seed in (12, 13))
    pair, cold = parted(source, target, 0, 160)
    work = mapped(MappingConfig(), pair, cold)
    error = np.square(predicted(work, cold) - cold.values).mean()
    transfer = bias_transfer_fitted(pair)(cold.users, cold.items)
    assert error < 0.75 * np.square(transfer - cold.values).mean()


def test_a_few_users_of_both_domains_are_enough_for_a_habit_that_each_domain_shows() -> None:
    follows = np.random.default_rng(14).uniform(-1, 3, 440)
    source, target = (tastes_world(seed, follows, 40, noise=0.5) for seed in (15, 16))
    pair, cold = parted(source, target, 268, 280)
    assert len(pair.train_source) == 12
    transfer = bias_transfer_fitted(pair)(cold.users, cold.items)
    error = np.square(predicted(mapped(MappingConfig(), pair, cold), cold) - cold.values).mean()
    assert error < 0.8 * np.square(transfer - cold.values).mean()


def test_a_correction_counts_by_what_validation_users_prove_of_it() -> None:
    """Users whose ratings are what a full, a half or no correction predicts."""
    pair, cold = shared_world()
    kept = {}
    for share in (0.0, 0.5, 1.0):
        work = mapped(MappingConfig(trust=1.0), pair, cold)
        start = work.map_users(torch.arange(60, 80))
        draw = torch.Generator().manual_seed(3)
        for learnt in work.training.best_tensors().values():
            learnt += 0.3 * torch.randn(learnt.shape, generator=draw)
        full = map_users(
            (*work.start, *work.training.best_tensors().values()), work._source_vectors
        )
        rated = cold_predictor(lambda users, full=full: full[users], work.target)
        before = predicted(mapped(MappingConfig(trust=1.0), pair, cold), cold)
        values = before + share * (rated(cold.users, cold.items) - before)
        work._validation = replace(cold, values=values.astype(np.float32))
        kept[share] = float(
            (work.map_users(torch.arange(60, 80)) - start).norm() / (full[60:80] - start).norm()
        )
    assert kept[0.0] == 0
    assert kept[1.0] > 0.9


def test_what_users_prove_grows_with_their_number_and_their_gain() -> None:
    before, users = np.full(80, 1.0), np.repeat(np.arange(20), 4)
    none, little, much = (proven(before, before - gain, users, 3.0) for gain in (-0.1, 0.02, 0.5))
    assert none == 0 < little < 0.5 < much < 1
    assert proven(before[:8], before[:8] - 0.5, users[:8], 3.0) < much
    alike = proven(before, before - 0.02, users, 0.0)
    assert alike < little  # four equal ratings of a user say as much as one


def test_what_is_delivered_is_no_worse_for_validation_users_than_the_start() -> None:
    work, _, cold = mapping(MappingConfig(epochs=6, patience=6))
    start = np.square(np.clip(predicted(work, cold), 1, 5) - cold.values).mean()
    list(work.training.epochs(lambda _: None))
    delivered = np.square(np.clip(predicted(work, cold), 1, 5) - cold.values).mean()
    best = work.training.best_rmse**2
    assert best - 1e-6 <= delivered <= start + 1e-6


def test_the_correction_is_nothing_at_first_and_each_users_own_once_it_trains() -> None:
    work, *_ = mapping(MappingConfig(epochs=2))
    vectors = torch.randn(9, 43, generator=torch.Generator().manual_seed(0))

    def correction() -> torch.Tensor:
        return sequential(work.network)(vectors).detach()

    assert not correction().any()
    list(work.training.epochs(lambda _: None))
    assert bool((correction().std(0) > 1e-3).all())


def test_training_that_only_harms_is_undone() -> None:
    pair, cold = shared_world()
    wrong = replace(cold, values=np.full(len(cold.values), 3, np.float32))
    config = MappingConfig(epochs=3, trust=1.0)
    untouched, wild = (mapped(config, pair, wrong, rate) for rate in (1e-2, 10.0))
    with suppress(Divergence):
        list(wild.training.epochs(lambda _: None))
    start = untouched.map_users(torch.arange(80))
    assert torch.equal(wild.map_users(torch.arange(80)), start)


def test_fitted_damping_follows_the_ratio_of_noise_to_bias() -> None:
    """Weak biases are shrunk hard, strong ones hardly: compare with the plain means."""
    for spread, shrinkage in ((2.0, (0.9, 1.0)), (0.1, (0.02, 0.45))):
        ratings = world(5, 400, 60, spread)
        shrunk = fitted_biases(ratings).user
        count = np.bincount(ratings.users)
        item = fitted_biases(ratings).item
        plain = np.bincount(ratings.users, ratings.values - 3 - item[ratings.items]) / count
        slope, _ = fit_line(plain.astype(np.float32), shrunk)
        assert shrinkage[0] < slope < shrinkage[1], (spread, slope)


def test_profiles_hold_bias_spread_and_activity() -> None:
    """User 0 agrees with everyone, 1 is generous, 2 erratic, 3 rates most, 24 nothing."""
    table = np.zeros((25, 40), np.float32)
    table[:4, :8] = table[3, 8:30] = 3
    for user in range(20):
        table[4 + user, user : user + 8] = 3
    table[1, :8], table[2, :8] = 4.5, np.tile([1.0, 5.0], 4)
    world = from_table(table)
    biases = fitted_biases(world)
    statistics = ProfileStatistics.of(world, biases)
    bias, spread, activity, *_ = statistics.profiles(world, biases.user).T
    assert bias.argmax() == 1
    assert spread.argmax() == 2
    assert activity.argmax() == 3
    assert (bias[24], spread[24], activity[24]) == (0, 0, 0)


def test_an_uncentred_domain_has_no_profiles_and_starts_from_zero() -> None:
    plain = replace(CONFIG, centred=False)
    work = mapped(MappingConfig(trust=0.5), *shared_world(), pretrain=plain)
    assert work._source_vectors.shape == (80, 32)
    assert work.map_users(torch.arange(3)).abs().sum() > 0


METAMF = {"common_size": 8, "private_size": 32}
WIDE = {"user_size": 48, "common_size": 24}


@pytest.mark.parametrize("widths", [{}, METAMF, WIDE], ids=["paper", "metamf", "wide"])
def test_shared_taste_is_transferred_before_the_mapping_trains(widths: dict[str, int]) -> None:
    taste = 0.7 * np.random.default_rng(4).standard_normal(200)
    pair, cold = parted(tastes_world(5, taste, 40), tastes_world(6, taste, 50), 0, 150)
    models = []
    for ratings in (pair.source, pair.target):
        config = replace(CONFIG, hidden_size=128, epochs=30, cohort_size=50, **widths)
        stage = Pretraining(config, ratings)
        assert min(epoch.validation_rmse for epoch in stage.training.epochs(lambda _: None)) < 0.5
        models.append(stage.model())
    vectors = models[0].source_vectors(torch.arange(200))
    work = MappingTraining(MappingConfig(), 1e-2, vectors, models[1], pair, cold)
    error = np.abs(predicted(work, cold) - cold.values).mean()
    transfer = bias_transfer_fitted(pair)(cold.users, cold.items)
    assert error < 0.7 * np.abs(transfer - cold.values).mean()
