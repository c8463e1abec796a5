"""The methods of Table 3 where taste in the target is a linear function of taste in the source."""

from dataclasses import dataclass, replace
from functools import cache
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from metaem_core.config.factor import Base, FactorConfig
from metaem_core.config.transfer import Method, TransferConfig
from metaem_core.data.choices import Choices
from metaem_core.data.pair import DomainPair, Queries
from metaem_core.data.ratings import Ints, Ratings, RatingScale, liked
from metaem_core.evaluation.metrics import rmse
from metaem_core.methods.baselines import sscdr, tmcdr
from metaem_core.methods.baselines.dcdcsr import benchmark
from metaem_core.methods.baselines.ptupcdr import attend
from metaem_core.methods.baselines.trivial import bias_transfer_fitted
from metaem_core.methods.factorisation.pretraining import Factorisation
from metaem_core.methods.transfer_problem import ColdModel, Problem
from metaem_core.training.epochs import EpochStats
from tasks.stages.baseline import method
from tests.support.worlds import from_table, random_ratings

METHODS = get_args(Method)

SCALE = RatingScale()
BASES: tuple[Base, ...] = ("mf", "gmf", "dnn", "fcf")
PAPER = (
    FactorConfig(
        size=4, centred=False, init_std=1, learning_rate=0.01, l2=0, epochs=3, patience=0, holdout=0
    ),
    TransferConfig(learning_rate=0.01, l2=0, epochs=3, patience=0),
)
CALIBRATED = (
    FactorConfig(size=4, learning_rate=0.01, l2=1e-3, init_std=0.1, epochs=30),
    TransferConfig(learning_rate=0.01, l2=0, epochs=40),
)


@dataclass(frozen=True)
class World:
    """Full tables of two domains; user p is source user p and target user ``target_of[p]``."""

    source: NDArray[np.float64]  # (users, source items), 0: not rated
    target: NDArray[np.float64]  # (users and others, target items)
    target_of: Ints  # (users,)
    train: Ints  # users
    validation: Ints
    cold: Ints

    def pair(self) -> DomainPair:
        """What a method may know."""
        known = self.target.copy()
        known[self.target_of[np.concatenate([self.validation, self.cold])]] = 0
        return DomainPair(
            from_table(self.source), from_table(known), self.train, self.target_of[self.train]
        )

    def queries(self, users: Ints) -> Queries:
        """These users' target ratings."""
        row, items = np.nonzero(self.target[self.target_of[users]])
        values = self.target[self.target_of[users][row], items]
        return Queries(users[row], items, values.astype(np.float32))


@cache
def world(users: int, items: int, rated: float, seed: int = 0) -> World:
    """Ratings 3 + bias + quality + taste, cut to 1 to 5; a quarter of the overlap is cold."""
    draw = np.random.default_rng(seed)
    taste, bias = draw.normal(size=(users, 2)), draw.normal(0, 0.3, users)
    turn = np.linalg.qr(draw.normal(size=(2, 2)))[0]
    others = users // 4
    tables = []
    for tastes, biases in (
        (taste, bias),
        (
            np.concatenate([taste @ turn.T, draw.normal(size=(others, 2))]),
            np.concatenate([bias, draw.normal(0, 0.3, others)]),
        ),
    ):
        wanted = draw.normal(0, 0.7, (items, 2))
        rating = 3 + biases[:, None] + draw.normal(0, 0.3, items) + tastes @ wanted.T
        rating += draw.normal(0, 0.2, rating.shape)
        tables.append(np.clip(rating, 1, 5) * (draw.random(rating.shape) < rated))
    shuffled = draw.permutation(users + others)  # indices differ between the domains
    target = np.empty_like(tables[1])
    target[shuffled] = tables[1]
    validation, cold, train = np.split(
        draw.permutation(users), [users // 8, users // 8 + users // 4]
    )
    return World(tables[0], target, shuffled[:users], train[: -users // 8], validation, cold)


TINY = world(users=48, items=12, rated=0.6)


def problem(planted: World, factors: FactorConfig) -> Problem:
    pair = planted.pair()
    models = []
    for ratings in (pair.source, pair.target):
        work = Factorisation(factors, ratings)
        assert all(np.isfinite(stats.loss) for stats in work.epochs())
        models.append(work.model())
    return Problem(pair, planted.queries(planted.validation), models[0], models[1], factors)


@cache
def tiny_problem(base: Base, centred: bool) -> Problem:
    return problem(TINY, replace((CALIBRATED if centred else PAPER)[0], base=base))


def fitted(name: str, domains: Problem, config: TransferConfig) -> ColdModel:
    return method(name)(domains, config, lambda stats: None)


def rated(cold: ColdModel, queries: Queries) -> NDArray[np.float32]:
    with torch.no_grad():
        ratings = cold.rate(torch.from_numpy(queries.users), torch.from_numpy(queries.items))
    result: NDArray[np.float32] = ratings.numpy()
    return result


@pytest.mark.parametrize("centred", [True, False], ids=["calibrated", "paper"])
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", METHODS)
class TestEveryMethod:
    """What is promised of methods x base models x profiles."""

    def fit(self, name: str, base: Base, centred: bool, seed: int = 0) -> ColdModel:
        config = replace((CALIBRATED if centred else PAPER)[1], seed=seed, epochs=3)
        return fitted(name, tiny_problem(base, centred), config)

    def test_vectors_and_ratings(self, name: str, base: Base, centred: bool) -> None:
        """Shapes and finite numbers; ratings come from the vectors, each user's of their own."""
        cold = self.fit(name, base, centred)
        users, items = torch.arange(48), torch.arange(48) % 12
        with torch.no_grad():
            vectors = cold.embed(users)
            ratings = cold.rate(users, items)
        assert vectors.shape == (48, 4 + centred)
        assert ratings.shape == (48,)
        assert bool(ratings.isfinite().all())
        assert not vectors.requires_grad
        torch.testing.assert_close(ratings, cold.target.rate(vectors, items))
        backwards = cold.embed(users.flip(0))
        torch.testing.assert_close(vectors.flip(0), backwards)

    def test_the_seed_decides(self, name: str, base: Base, centred: bool) -> None:
        first, again, other = (self.fit(name, base, centred, seed) for seed in (0, 0, 1))
        users = torch.arange(48)
        assert torch.equal(first.embed(users), again.embed(users))
        if not centred:
            assert not torch.equal(first.embed(users), other.embed(users))

    def test_domains_stay_as_they_were(self, name: str, base: Base, centred: bool) -> None:
        """One pretraining serves all methods."""
        domains = tiny_problem(base, centred)
        parts = [m for d in (domains.source, domains.target) for m in (d.users, d.items, *d.head)]
        before = [part.clone() for part in parts]
        self.fit(name, base, centred)
        assert all(torch.equal(*both) for both in zip(parts, before, strict=True))

    def test_every_epoch_is_reported(self, name: str, base: Base, centred: bool) -> None:
        reported: list[EpochStats] = []
        config = replace((CALIBRATED if centred else PAPER)[1], epochs=2, patience=0)
        domains = tiny_problem(base, centred)
        domains = replace(domains, factors=replace(domains.factors, epochs=2, patience=0))
        cold = method(name)(domains, config, reported.append)
        assert [stats.epoch for stats in reported] == ([] if name == "tgt" else [1, 2])
        if reported:
            last = reported[-1].validation_mae, reported[-1].validation_rmse
            assert last == cold.errors(SCALE)


@pytest.mark.parametrize("name", METHODS)
def test_as_published_training_ratings_matter_and_validation_ratings_do_not(name: str) -> None:
    def turned(users: Ints) -> World:
        target = TINY.target.copy()
        target[TINY.target_of[users]] = 6 - target[TINY.target_of[users]]
        return replace(TINY, target=np.where(TINY.target > 0, target, 0))

    same, validation, train = (
        rated(fitted(name, problem(w, PAPER[0]), PAPER[1]), TINY.queries(TINY.cold))
        for w in (TINY, turned(TINY.validation), turned(TINY.train))
    )
    assert np.array_equal(same, validation)
    assert name == "tgt" or np.abs(same - train).max() > 0.03


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"tgt"}))
def test_calibrated_methods_start_as_bias_transfer(name: str) -> None:
    """What has learned nothing yet transfers the biases, and nothing else."""
    domains = tiny_problem("mf", True)
    still = replace(domains.factors, learning_rate=1e-12, init_std=1e-6)
    config = TransferConfig(learning_rate=1e-12, epochs=1, patience=0)
    cold = fitted(name, replace(domains, factors=still), config)
    queries = TINY.queries(TINY.cold)
    expected = bias_transfer_fitted(TINY.pair())(queries.users, queries.items)
    np.testing.assert_allclose(rated(cold, queries), expected, atol=1e-4)


def test_tgt_knows_only_items() -> None:
    """Published: every user at random; centred: everybody alike."""
    users, items = torch.arange(48), torch.full((48,), 3)
    cold = fitted("tgt", tiny_problem("mf", True), CALIBRATED[1])
    offset = tiny_problem("mf", True).target.offsets[3]
    torch.testing.assert_close(cold.rate(users, items), offset.expand(48))
    published = fitted("tgt", tiny_problem("mf", False), PAPER[1]).embed(users)
    assert 0.8 < float(published.std()) < 1.2


@cache
def large_problem() -> Problem:
    return problem(LARGE, CALIBRATED[0])


LARGE = world(users=320, items=60, rated=0.5, seed=1)


@pytest.mark.parametrize("name", ["emcdr", "ptupcdr", "sscdr", "cmf", "dcdcsr", "tmcdr"])
def test_taste_is_transferred(name: str) -> None:
    """Calibrated methods halve what bias transfer leaves beyond the noise of 0.2."""
    cold = fitted(name, large_problem(), CALIBRATED[1])
    queries = LARGE.queries(LARGE.cold)
    transfer = bias_transfer_fitted(LARGE.pair())(queries.users, queries.items)
    biases = rmse(transfer, queries.values)
    assert rmse(rated(cold, queries), queries.values) < 0.6 * biases


def twins(turn: Tensor, centred: bool) -> Problem:
    """TINY where everybody's target embedding is ``turn`` times their source embedding."""
    domains, draw = tiny_problem("mf", centred), torch.Generator().manual_seed(1)
    mine = torch.randn(48, 4, generator=draw)
    theirs = torch.randn(len(TINY.target), 4, generator=draw)
    theirs[torch.from_numpy(TINY.target_of)] = mine @ turn.T
    items = torch.randn(12, 4, generator=draw)
    return replace(
        domains,
        source=replace(domains.source, users=mine, items=items),
        target=replace(domains.target, users=theirs, items=items.flip(0)),
    )


LONG = TransferConfig(batch_size=8, learning_rate=0.02, l2=0, epochs=150, patience=0)


@pytest.mark.parametrize("name", ["emcdr", "sscdr"])
@pytest.mark.parametrize("centred", [True, False], ids=["calibrated", "paper"])
def test_a_linear_map_is_recovered(
    name: str, centred: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For users that training never saw."""
    monkeypatch.setattr(sscdr, "UNSUPERVISED", 0.0)
    turn = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    domains = twins(turn, centred)
    cold = torch.from_numpy(TINY.cold)
    transferred = fitted(name, domains, LONG).transfer(cold)
    torch.testing.assert_close(
        transferred, domains.source.users[cold] @ turn.T, atol=0.05, rtol=0.02
    )


def test_cmf_is_one_factorisation_of_both_domains() -> None:
    """Of ratings in which a trainee is one user and every domain has items of its own."""
    pair, factors = TINY.pair(), replace(PAPER[0], batch_size=8)
    source, target = pair.source, pair.target
    source_of = dict(zip(pair.train_target.tolist(), pair.train_source.tolist(), strict=True))
    owners = [source_of.get(user, source.n_users + user) for user in target.users.tolist()]
    both = Ratings(
        np.concatenate([source.users, owners]),
        np.concatenate([source.items, source.n_items + target.items]),
        np.concatenate([source.values, target.values]),
        source.n_users + target.n_users,
        source.n_items + target.n_items,
    )
    work = Factorisation(factors, both)
    for _ in work.epochs():
        pass
    cold = fitted("cmf", replace(tiny_problem("mf", False), factors=factors), PAPER[1])
    users, items = torch.arange(48), torch.arange(48) % 12
    torch.testing.assert_close(
        cold.rate(users, items), work.model().rate_own(users, items + source.n_items)
    )


def test_ptupcdr_maps_by_the_history() -> None:
    """Two users of one taste are mapped alike exactly if they like the same items."""
    likes = np.array([[5, 5, 1, 1, 0, 0], [5, 4, 2, 0, 0, 3], [1, 1, 5, 5, 0, 0]], dtype=float)
    source = TINY.source.copy()
    source[:3] = np.tile(likes, 2)
    domains = problem(replace(TINY, source=source), PAPER[0])
    users = domains.source.users.clone()
    users[:3] = users[0]
    alike = replace(domains, source=replace(domains.source, users=users))
    mapped = fitted("ptupcdr", alike, PAPER[1]).transfer(torch.arange(3))
    torch.testing.assert_close(mapped[0], mapped[1])
    assert (mapped[0] - mapped[2]).norm() > 0.05


def test_ptupcdr_ignores_padding() -> None:
    draw = torch.Generator().manual_seed(0)
    network = tuple(torch.randn(*s, generator=draw) for s in ((4, 4), (4,), (1, 4)))
    items = torch.randn(1, 5, 4, generator=draw)
    filled = torch.tensor([[True, False, True, True, False]])
    alone = attend(network, items[:, filled[0]], filled[:, filled[0]])
    torch.testing.assert_close(attend(network, items, filled), alone)
    weight, constant, score = network
    shares = torch.softmax(
        torch.stack([score[0] @ (weight @ e + constant).relu() for e in items[0, filled[0]]]), 0
    )
    torch.testing.assert_close(alone[0], shares @ items[0, filled[0]])
    nothing = attend(network, items, torch.zeros(1, 5, dtype=torch.bool))
    assert torch.equal(nothing, torch.zeros(1, 4))


@pytest.mark.parametrize("seed", range(5))
def test_histories_by_user(seed: int) -> None:
    """Last items, all rows and draws against plain loops; user 0 has no rating."""
    ratings = random_ratings(n_users=30, n_items=9, mean_count=4, seed=seed)
    mine = [set(ratings.items[ratings.users == user].tolist()) for user in range(30)]
    by_user, draw = Choices.of(ratings), torch.Generator().manual_seed(seed)
    users = torch.randperm(30, generator=draw)
    items, filled = by_user.last(users, 3)
    for user, row, places in zip(users.tolist(), items, filled, strict=True):
        assert sorted(row[places].tolist()) == sorted(mine[user])[-3:]
    items = ratings.items[by_user.rows(users).numpy()].tolist()
    assert items == [item for user in users.tolist() for item in sorted(mine[user])]
    some = torch.tensor([user for user in range(30) if 0 < len(mine[user]) < 9])
    own = [by_user.draw(some, draw).tolist() for _ in range(200)]
    others = [by_user.draw_other(some, draw).tolist() for _ in range(200)]
    for user, drawn, other in zip(
        some.tolist(), zip(*own, strict=True), zip(*others, strict=True), strict=True
    ):
        assert set(drawn) == mine[user]
        assert set(other) == set(range(9)) - mine[user]


def test_liked_is_above_the_middle_of_the_scale() -> None:
    ratings = from_table(np.array([[1, 2, 3, 4, 5.0]]))
    assert liked(ratings, RatingScale()).values.tolist() == [4, 5]
    assert liked(ratings, RatingScale(0, 9)).values.tolist() == [5]


def test_sscdr_pushes_only_what_was_not_rated() -> None:
    """Items that are rated and not liked by everybody are neither pulled nor pushed."""
    source = np.tile(np.repeat([5.0, 1.0, 0.0], 4), (48, 1))
    base = twins(torch.eye(4), centred=False)
    domains = replace(base, pair=replace(base.pair, source=from_table(source)))
    maps = []
    for block in (None, 0, 4, 8):
        items = domains.source.items.clone()
        if block is not None:
            items[block : block + 4] *= 3
        changed = replace(domains, source=replace(domains.source, items=items))
        maps.append(fitted("sscdr", changed, PAPER[1]).transfer(torch.arange(48)))
    assert not torch.equal(maps[0], maps[1])
    assert torch.equal(maps[0], maps[2])
    assert not torch.equal(maps[0], maps[3])


def test_sscdr_does_without_items_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users who like nothing, or have rated everything, only follow their label."""
    source = np.full((48, 12), 2.0)
    source[:24] = 5
    source[24:, 0] = 0
    domains = replace(tiny_problem("mf", False), pair=replace(TINY, source=source).pair())
    maps = [fitted("sscdr", domains, PAPER[1]).transfer(torch.arange(48))]
    monkeypatch.setattr(sscdr, "UNSUPERVISED", 0.0)
    maps.append(fitted("sscdr", domains, PAPER[1]).transfer(torch.arange(48)))
    assert torch.equal(*maps)


def test_the_benchmark_weighs_by_counts() -> None:
    """Nine source ratings and three target ratings count 3 to 1."""
    source, target = np.zeros((48, 12)), np.zeros_like(TINY.target)
    source[:, :9] = 4
    target[:, :3] = 2
    domains = twins(-torch.eye(4), centred=False)
    domains = replace(domains, pair=replace(TINY, source=source, target=target).pair())
    expected = (
        0.75 * domains.source.users[domains.overlap[0]]
        + 0.25 * domains.target.users[domains.overlap[1]]
    )
    torch.testing.assert_close(benchmark(domains), expected)


def test_dcdcsr_trains_items_against_mapped_factors() -> None:
    """Training ratings are rated better by the new items than by the old ones."""
    domains = large_problem()
    cold = fitted("dcdcsr", domains, CALIBRATED[1])
    known = LARGE.queries(LARGE.train)
    old = replace(cold, target=replace(cold.target, items=domains.target.items))
    assert rmse(rated(cold, known), known.values) < 0.9 * rmse(rated(old, known), known.values)


def test_tmcdr_learns_through_the_support_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient of what is left after adapting, by finite differences."""
    monkeypatch.setattr(tmcdr, "ADAPTATION", 0.3)
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.randn(2, 6, 3, generator=draw, dtype=torch.float64) for _ in range(2))
    weight = torch.randn(3, 3, generator=draw, dtype=torch.float64, requires_grad=True)

    def left(w: Tensor, group: int) -> Tensor:
        return (x[group] @ w.T - y[group]).square().mean()

    def query(w: Tensor) -> Tensor:
        return left(tmcdr.adapted(w, left(w, 0)), 1)

    assert left(tmcdr.adapted(weight, left(weight, 0)), 0) < left(weight, 0)
    torch.autograd.gradcheck(query, (weight,))


def test_tmcdr_is_trained_for_after_adapting(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = []
    for rate in (5.0, 0.0):
        monkeypatch.setattr(tmcdr, "ADAPTATION", rate)
        maps.append(fitted("tmcdr", large_problem(), CALIBRATED[1]).transfer(torch.arange(320)))
    assert (maps[0] - maps[1]).norm() > 0.05 * maps[1].norm()
