import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaem_core.data.bias import ITEM_DAMPING, USER_DAMPING, fitted_biases
from metaem_core.data.pair import DomainPair, Queries
from metaem_core.data.ratings import Floats, Ints, Ratings
from metaem_core.data.splitting import SplitConfig, split_overlap
from metaem_core.evaluation.metrics import rmse
from metaem_core.methods.baselines import user_knn as user_knn_module
from metaem_core.methods.baselines.trivial import TRIVIAL, bias_transfer
from metaem_core.methods.baselines.user_knn import fit_neighbours, fit_weight
from metaem_core.synthetic.world import SyntheticConfig, generate
from tests.support.worlds import from_table, renumbered


def small_pair() -> DomainPair:
    source = np.array([[5, 4, 0], [2, 0, 1], [0, 3, 4]])  # users a, b, c
    target = np.array([[4, 5, 0, 0], [0, 2, 0, 3]])  # users d, b
    return DomainPair(from_table(source), from_table(target), np.array([1]), np.array([1]))


def random_pair(generator: np.random.Generator, n_source: int = 12) -> DomainPair:
    """Users 0 to 4 of the source are the target's users 1 to 5, in reverse."""
    source, target = (
        generator.integers(1, 6, shape) * (generator.random(shape) < 0.5)
        for shape in ((n_source, 9), (8, 7))
    )
    return DomainPair(
        from_table(source), from_table(target), np.arange(5), np.array([5, 4, 3, 2, 1])
    )


def planted(config: SyntheticConfig, beta: float) -> tuple[DomainPair, Queries]:
    movie, music = (generate(config, domain) for domain in ("movie", "music"))
    names = [np.unique(domain.users) for domain in (movie, music)]
    source, target = renumbered(movie), renumbered(music)
    overlap = np.intersect1d(names[0], names[1])
    split = split_overlap(map(str, overlap), SplitConfig(beta))
    train, hidden = (np.array(ids, dtype=np.int64) for ids in (split.train, split.cold))
    held = np.isin(names[1], np.array(split.cold + split.validation, dtype=np.int64))
    pair = DomainPair(
        source,
        target.of_users(~held),
        np.searchsorted(names[0], train),
        np.searchsorted(names[1], train),
    )
    cold = target.of_users(np.isin(names[1], hidden))
    return pair, Queries(np.searchsorted(names[0], names[1][cold.users]), cold.items, cold.values)


def test_means_by_hand() -> None:
    users, items = np.array([0, 0, 2]), np.array([0, 1, 2])
    pair = small_pair()
    assert TRIVIAL["global_mean"](pair)(users, items) == pytest.approx([3.5, 3.5, 3.5])
    assert TRIVIAL["item_mean"](pair)(users, items) == pytest.approx([4, 3.5, 3.5])
    assert TRIVIAL["source_user_mean"](pair)(users, items) == pytest.approx([4.5, 4.5, 3.5])


def test_the_slope_is_fitted_on_the_training_overlap() -> None:
    """Target ratings are 3 + half the user's source bias, for overlap users alone."""
    generator = np.random.default_rng(0)
    bias = generator.normal(size=60)
    source = from_table(np.tile(4 + bias[:, None], (1, 200)))
    target_bias = np.append(generator.normal(size=40), 0.5 * bias[:40])  # 40 others come first
    target = from_table(np.tile(3 + target_bias[:, None], (1, 300)))
    pair = DomainPair(source, target, np.arange(40), np.arange(40, 80))
    rated = TRIVIAL["bias_transfer"](pair)(np.arange(40, 60), np.zeros(20, dtype=np.int64))
    level = rated - 0.5 * bias[40:60]
    assert np.ptp(level) < 0.02  # the user's part is right up to the common level
    assert np.ptp(0.5 * bias[40:60]) > 1


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from(sorted(TRIVIAL)))
def test_a_prediction_depends_on_its_own_user_and_item_alone(seed: int, name: str) -> None:
    generator = np.random.default_rng(seed)
    predict = TRIVIAL[name](random_pair(generator))
    users, items = generator.integers(0, 12, 30), generator.integers(0, 7, 30)
    together = predict(users, items)
    alone = [predict(users[row : row + 1], items[row : row + 1])[0] for row in range(30)]
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    np.testing.assert_allclose(together, alone, atol=1e-5)


def naive_taste(pair: DomainPair, user: int, item: int) -> float:
    """The definition of the neighbours' taste, one pair of users at a time."""
    base, weighted, total = bias_transfer(pair), 0.0, 0.0
    histories = residual_histories(pair.source)
    for mate, twin in zip(pair.train_source, pair.train_target, strict=True):
        row = np.flatnonzero((pair.target.users == twin) & (pair.target.items == item))
        if mate == user or len(row) == 0:
            continue
        mine, theirs = histories[user], histories[mate]
        dot = sum(mine[shared] * theirs[shared] for shared in mine.keys() & theirs.keys())
        norms = [sum(x * x for x in history.values()) + 50.0 for history in (mine, theirs)]
        similarity = max(0.0, dot / (norms[0] * norms[1]) ** 0.5)
        rated = base(np.array([mate]), np.array([item]))[0]
        weighted += similarity * (pair.target.values[row[0]] - rated)
        total += similarity
    return weighted / (total + 0.5)


def residual_histories(ratings: Ratings) -> list[dict[int, float]]:
    histories: list[dict[int, float]] = [{} for _ in range(ratings.n_users)]
    residuals = fitted_biases(ratings, ITEM_DAMPING, USER_DAMPING).residuals(ratings)
    for user, item, residual in zip(ratings.users, ratings.items, residuals, strict=True):
        histories[user][int(item)] = float(residual)
    return histories


@pytest.mark.parametrize("block", [1, 5, 128])
def test_blocks_of_users_find_the_naive_neighbours(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_knn_module, "BLOCK", block)
    generator = np.random.default_rng(3)
    pair = random_pair(generator)
    users, items = generator.integers(0, 12, 60), generator.integers(0, 7, 60)
    taste = fit_neighbours(pair, bias_transfer(pair)).taste(users, items)
    expected = [naive_taste(pair, user, item) for user, item in zip(users, items, strict=True)]
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(taste, expected, atol=1e-6)


def two_camps(shared: bool) -> tuple[DomainPair, Ints, Floats]:
    """Everybody likes half of the items, in the target the same half or one unrelated to it."""
    generator = np.random.default_rng(1)
    camp = np.tile([-1, -1, 1, 1], 30)
    other = camp if shared else np.tile([-1, 1, -1, 1], 30)
    side = np.repeat([-1, 1], 20)
    tables = [3 + np.outer(taste, side) for taste in (camp, other)]
    noisy = [table + generator.normal(0, 0.5, table.shape) for table in tables]
    pair = DomainPair(from_table(noisy[0]), from_table(noisy[1][:80]), np.arange(80), np.arange(80))
    return pair, np.arange(80, 120), noisy[1][80:].ravel().astype(np.float32)


def test_neighbours_carry_shared_taste_and_are_ignored_without_any() -> None:
    gains, weights = [], []
    for shared in (True, False):
        pair, cold, actual = two_camps(shared)
        users, items = np.repeat(cold, 40), np.tile(np.arange(40), len(cold))
        base = bias_transfer(pair)
        weights.append(fit_weight(fit_neighbours(pair, base), pair, base))
        gains.append(
            rmse(TRIVIAL["bias_transfer"](pair)(users, items), actual)
            - rmse(TRIVIAL["user_knn"](pair)(users, items), actual)
        )
    assert weights[0] > 0.8
    assert gains[0] > 0.4
    assert weights[1] < 0.1
    assert gains[1] > -0.01


def test_on_the_planted_world_each_predictor_adds_something() -> None:
    pair, cold = planted(SyntheticConfig(growth=0.5), beta=0.5)
    errors = {
        name: rmse(fit(pair)(cold.users, cold.items), cold.values) for name, fit in TRIVIAL.items()
    }
    assert errors["bias_transfer"] < errors["item_mean"] - 0.015
    assert errors["item_mean"] < errors["global_mean"] - 0.02
    assert errors["global_mean"] < errors["source_user_mean"]
    assert errors["user_knn"] < errors["bias_transfer"] + 0.005
