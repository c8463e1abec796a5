from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaem_core.data.ratings import Floats
from metaem_core.synthetic.size import DOMAINS, SCALES, STARS, Domain
from metaem_core.synthetic.world import (
    SyntheticConfig,
    SyntheticDomain,
    generate,
    plant,
    planted_opinion,
)

TABLE_2 = {
    "movie": (123_960, 50_052, 1_697_533),
    "music": (75_258, 64_443, 1_097_592),
    "book": (603_668, 367_982, 8_898_041),
}


def counts(domain: SyntheticDomain) -> tuple[int, int, int]:
    return len(np.unique(domain.users)), len(np.unique(domain.items)), len(domain.values)


def assert_well_formed(domain: SyntheticDomain) -> None:
    """Sorted, without repeats, a 5-core, whole stars, whole days."""
    places = domain.users * (domain.items.max() + 1) + domain.items
    assert (np.diff(places) > 0).all()
    for side in (domain.users, domain.items):
        assert np.unique(side, return_counts=True)[1].min() >= 5
    assert set(np.unique(domain.values)) <= {1, 2, 3, 4, 5}
    assert (domain.timestamps % 86_400 == 0).all()
    columns = (domain.users, domain.items, domain.values, domain.timestamps)
    assert [column.dtype.name for column in columns] == ["int64", "int64", "float32", "int64"]


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.floats(0.05, 0.2), st.sampled_from(DOMAINS))
def test_every_world_is_a_core_of_its_stated_size(seed: int, growth: float, name: Domain) -> None:
    domain = generate(SyntheticConfig(seed, growth=growth), name)
    assert_well_formed(domain)
    size = SCALES["default"].domains[name]
    stated = (size.users, size.items, size.ratings)
    assert counts(domain) == tuple(round(count * growth) for count in stated)


def test_the_seed_alone_decides() -> None:
    config = SyntheticConfig(3, growth=0.1)
    alone = generate(config, "music")
    generate(config, "book")
    again = generate(config, "music")
    other = generate(SyntheticConfig(4, growth=0.1), "music")
    for column in ("users", "items", "values", "timestamps"):
        assert np.array_equal(getattr(alone, column), getattr(again, column))
    assert not np.array_equal(alone.items, other.items)


def test_the_default_world_shares_its_stated_users() -> None:
    users = {name: set(generate(SyntheticConfig(), name).users.tolist()) for name in DOMAINS}
    shared = {pair: len(users[pair[0]] & users[pair[1]]) for pair in combinations(DOMAINS, 2)}
    assert shared == {("movie", "music"): 1500, ("movie", "book"): 1800, ("music", "book"): 1000}
    assert len(set.intersection(*users.values())) == 400


@pytest.mark.parametrize("name", DOMAINS)
def test_the_default_world_looks_like_amazon(name: Domain) -> None:
    domain = generate(SyntheticConfig(), name)
    stars = np.bincount(domain.values.astype(np.int64), minlength=6)[1:] / len(domain.values)
    np.testing.assert_allclose(stars, np.array(STARS[name]) / sum(STARS[name]), atol=1e-3)
    activity = np.sort(np.unique(domain.users, return_counts=True)[1])[::-1]
    tenth = activity[: len(activity) // 10].sum() / activity.sum()
    assert 0.3 < tenth < 0.6  # a tenth of the users has a third to a half of all ratings
    assert np.median(activity) < 0.75 * activity.mean()


def test_bias_and_taste_carry_over_between_separately_planted_domains() -> None:
    config = SyntheticConfig()
    movie, music = plant(config, "movie"), plant(config, "music")
    _, here, there = np.intersect1d(movie.users, music.users, return_indices=True)
    pairs = [(movie.user_bias[here], music.user_bias[there])]
    pairs += [(movie.user_taste[here, taste], music.user_taste[there, taste]) for taste in range(2)]
    for one, other in pairs:
        assert np.corrcoef(one, other)[0, 1] == pytest.approx(0.6, abs=0.06)


@pytest.mark.parametrize(("shared", "carried"), [(0.6, 0.97), (0.0, 0.0)])
def test_interests_carry_over_where_tastes_do(shared: float, carried: float) -> None:
    movie, music = (plant(SyntheticConfig(shared=shared), name) for name in ("movie", "music"))
    _, here, there = np.intersect1d(movie.users, music.users, return_indices=True)
    both = movie.user_interests[here].ravel(), music.user_interests[there].ravel()
    assert np.corrcoef(*both)[0, 1] == pytest.approx(carried, abs=0.02)


def test_users_rate_items_of_the_genres_that_they_want() -> None:
    config = SyntheticConfig()
    planted, domain = plant(config, "music"), generate(config, "music")
    interests = planted.user_interests[np.searchsorted(planted.users, domain.users)]
    rated = np.take_along_axis(interests, planted.item_genres[domain.items][:, None], axis=1)
    better = (interests > rated).sum(1)  # genres that the user wants more
    assert (better < 2).mean() > 0.5


def fitted_rmse(actual: Floats, *known: Floats) -> float:
    """RMSE of the best linear combination of what is known."""
    design = np.column_stack([np.ones(len(actual)), *known])
    fitted = design @ np.linalg.lstsq(design, actual, rcond=None)[0]
    return float(np.sqrt(np.mean((fitted - actual) ** 2)))


def test_the_source_tells_more_than_bias() -> None:
    """Knowing a user's movie taste rates music better than knowing the movie bias alone."""
    movie, music = (plant(SyntheticConfig(), name) for name in ("movie", "music"))
    domain = generate(SyntheticConfig(), "music")
    rows = np.isin(domain.users, movie.users)
    items, actual = domain.items[rows], domain.values[rows]
    here, there = (np.searchsorted(side.users, domain.users[rows]) for side in (movie, music))
    quality, bias = music.item_quality[items], movie.user_bias[here]
    taste = (movie.user_taste[here] * music.item_taste[items]).sum(axis=1)
    without, with_bias = fitted_rmse(actual, quality), fitted_rmse(actual, quality, bias)
    with_taste = fitted_rmse(actual, quality, bias, taste)
    everything = fitted_rmse(actual, planted_opinion(music, there, items))
    assert without > with_bias + 0.02
    assert with_bias > with_taste + 0.03
    assert with_taste > everything + 0.1


@pytest.mark.night
@pytest.mark.parametrize("name", ["movie", "music"])
def test_table_2_is_reached_exactly(name: Domain) -> None:
    domain = generate(SyntheticConfig(scale="table2"), name)
    assert_well_formed(domain)
    assert counts(domain) == TABLE_2[name]


@pytest.mark.night
def test_table_2_shares_its_users_exactly() -> None:
    users = {name: plant(SyntheticConfig(scale="table2"), name).users for name in DOMAINS}
    assert {name: len(own) for name, own in users.items()} == {
        name: users for name, (users, _, _) in TABLE_2.items()
    }
    shared = [
        len(np.intersect1d(users[one], users[other])) for one, other in combinations(DOMAINS, 2)
    ]
    assert shared == [18_031, 37_388, 16_738]


def test_what_cannot_be_planted_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown scale 'table3'; one of default, table2"):
        SyntheticConfig(scale="table3")
    with pytest.raises(ValueError, match=r"growth goes from 0\.02 to 1000, got 0\.001"):
        SyntheticConfig(growth=0.001)
    with pytest.raises(ValueError, match=r"shared is a correlation from 0 to 1, got 1\.5"):
        SyntheticConfig(shared=1.5)
    with pytest.raises(ValueError, match="taste must leave room for noise"):
        SyntheticConfig(taste=0.7)
    with pytest.raises(
        ValueError, match=r"2200 ratings give 140 users or items 15\.7 each, outside 5 to 10"
    ):
        generate(SyntheticConfig(growth=0.02), "movie")
