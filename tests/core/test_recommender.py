"""New users are given what training would give them, and the best of the catalogue."""

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from metaem_core.config.mapping import MappingConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.bias import fitted_biases
from metaem_core.data.ratings import Floats, Ratings
from metaem_core.data.user_profile import ProfileStatistics
from metaem_core.methods.metaem.mapping import fresh_network
from metaem_core.methods.metaem.mapping_start import identity
from metaem_core.methods.metaem.pretraining import Pretraining
from metaem_core.models import recommender as recommender_module
from metaem_core.models.fold_in import private_view
from metaem_core.models.metaem import DomainModel
from metaem_core.models.recommender import Recommender, _best, _rated
from tests.support.worlds import planted_ratings, random_ratings

SOURCE = planted_ratings(0.1)
TARGET = random_ratings(n_users=60, n_items=1400, mean_count=40, seed=2)
CONFIG = PretrainConfig(hidden_size=24, epochs=6, patience=6)


def pretrained(ratings: Ratings, **options: object) -> DomainModel:
    stage = Pretraining(replace(CONFIG, **options), ratings)  # type: ignore[arg-type]
    for _ in stage.training.epochs(lambda _: None):
        pass
    return stage.model()


def recommender(**options: object) -> Recommender:
    """Between the two worlds a mapping that nobody trained."""
    source, target = pretrained(SOURCE), pretrained(TARGET, epochs=2, **options)
    for weights in target.gmf_weights:
        weights.copy_(torch.linspace(-1, 2, len(weights)))
    width = source.user_embeddings.shape[1] + source.user_profiles.shape[1]
    network = fresh_network(MappingConfig(hidden_size=12), width, target, torch.float32)
    network[-2].normal_(generator=torch.Generator().manual_seed(5))
    size = target.user_embeddings.shape[1] + target.item_features.shape[1]
    start = identity(width, size, torch.float32)
    statistics = ProfileStatistics.of(SOURCE, fitted_biases(SOURCE))
    return Recommender(source, statistics, target, (*start, *network), CONFIG.table_l2)


FITTED = recommender()


def history(user: int) -> Ratings:
    """The ratings of one user of the source, as a world of its own."""
    own = SOURCE.users == user
    return Ratings(
        np.zeros(own.sum(), np.int64), SOURCE.items[own], SOURCE.values[own], 1, SOURCE.n_items
    )


def test_profiles_of_training_users_are_those_of_training() -> None:
    size = FITTED.source.user_embeddings.shape[1]
    profiles = FITTED.source_vectors(SOURCE)[:, size:]
    torch.testing.assert_close(profiles, FITTED.source.user_profiles, rtol=0, atol=1e-5)


def test_what_all_users_share_is_no_part_of_a_profile() -> None:
    """Where everybody rated five items, who rated four is not a million deviations away."""
    place = np.arange(len(SOURCE)) - np.searchsorted(SOURCE.users, SOURCE.users)
    even, short = SOURCE.where(place < 5), SOURCE.where(place < 4)
    statistics = ProfileStatistics.of(even, fitted_biases(even))
    profiles = statistics.profiles(short, statistics.user_bias(short))
    assert np.abs(profiles).max() < 20
    assert not profiles[:, 2].any()  # the count


def test_taste_is_where_the_loss_of_the_own_ratings_is_least() -> None:
    """Eqs. 7 to 9 of each user alone, differentiated by their vector with private items fixed."""
    size = FITTED.source.user_embeddings.shape[1]
    vectors = FITTED.source_vectors(SOURCE)
    taste = vectors[:, :size].clone().requires_grad_()
    rated = _rated(SOURCE)
    seen = private_view(FITTED.source, FITTED.source.private_items(vectors), rated)
    expected = FITTED.source.item_offsets[rated.items] + vectors[rated.owner, size]
    error = rated.values - expected - (taste[rated.owner] * seen).sum(1)
    counts = torch.bincount(rated.owner, minlength=SOURCE.n_users)
    decay = counts.sqrt() * CONFIG.table_l2 * taste.square().sum(1)
    (drop,) = torch.autograd.grad(decay.sum(), taste)
    (rise,) = torch.autograd.grad(error.square().sum(), taste)
    assert float((drop + rise).norm()) < 0.02 * float(drop.norm())
    assert float(vectors[:, :size].norm()) > 0.1


def test_a_profile_does_not_depend_on_the_company() -> None:
    together = FITTED.target_vectors(SOURCE)
    for user in (0, 7, SOURCE.n_users - 1):
        alone = FITTED.target_vectors(history(user))[0]
        torch.testing.assert_close(alone, together[user], rtol=1e-4, atol=1e-5)


def test_a_history_of_nothing_is_the_average_users() -> None:
    nobody = history(0).of_users(np.zeros(1, bool))
    assert not FITTED.source_vectors(nobody).any()
    (best,) = FITTED.top(nobody, [np.zeros(0, np.int64)], 5)
    assert len(best.items) == 5


@pytest.mark.parametrize(
    "options",
    [{}, {"base": "mf"}, {"base": "gmf"}, {"relu_last": True}, {"base": "gmf", "relu_last": True}],
)
def test_rating_the_catalogue_is_rating_every_item(options: dict[str, object]) -> None:
    fitted = recommender(**options) if options else FITTED
    vectors = fitted.target_vectors(SOURCE)[:3]
    every = torch.arange(TARGET.n_items)
    for place in range(3):
        with torch.no_grad():
            owner = torch.zeros_like(every)
            expected = fitted.target.rate(vectors[place : place + 1], owner, every)
        np.testing.assert_allclose(fitted.rate_all(vectors[place]), expected, rtol=1e-4, atol=1e-4)


def test_the_best_are_listed_without_those_seen() -> None:
    vector = FITTED.target_vectors(SOURCE)[3]
    rated = FITTED.rate_all(vector)
    order = np.argsort(-rated, kind="stable")
    (best,) = FITTED.top(history(3), [order[[0, 2]]], 4)
    assert best.items.tolist() == order[[1, 3, 4, 5]].tolist()
    np.testing.assert_allclose(best.ratings, rated[best.items], atol=1e-4)
    (everything,) = FITTED.top(history(3), [order[:-2]], 10)
    assert everything.items.tolist() == order[-2:].tolist()


def test_a_pull_is_the_difference_to_the_history_without_the_rating() -> None:
    items, own = np.array([4, 100, 900]), history(5)

    def ratings(known: Ratings) -> Floats:
        return FITTED.rate_all(FITTED.target_vectors(known)[0])[items]

    pulls = FITTED.pulls(own, items)
    for row in range(len(own)):
        without = own.where(np.arange(len(own)) != row)
        np.testing.assert_allclose(pulls[row], ratings(own) - ratings(without), atol=1e-4)
    assert np.abs(pulls).max() > 1e-3


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(0, 30))
def test_of_equal_ratings_the_first_items_count(rated: list[int], count: int) -> None:
    best = _best(np.array(rated, np.float32), min(count, len(rated)))
    order = sorted(range(len(rated)), key=lambda item: (-rated[item], item))
    assert best.items.tolist() == order[:count]


def test_what_has_no_fold_in_is_refused() -> None:
    uncentred = pretrained(SOURCE, centred=False, epochs=1)
    with pytest.raises(ValueError, match="uncentred"):
        replace(FITTED, source=uncentred)
    with pytest.raises(ValueError, match="raw vectors"):
        replace(FITTED, source=replace(FITTED.source, meta_reads_raw=True))


@pytest.mark.parametrize("at_once", [1, 40, 500])
def test_many_users_and_long_histories_are_taken_in_parts(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing, items = [np.zeros(0, np.int64)] * SOURCE.n_users, np.array([4, 100])
    best, pulls = [*FITTED.top(SOURCE, nothing, 3)], FITTED.pulls(history(5), items)
    monkeypatch.setattr(recommender_module, "AT_ONCE", at_once)
    for whole, part in zip(best, FITTED.top(SOURCE, nothing, 3), strict=True):
        np.testing.assert_allclose(whole.ratings, part.ratings, atol=1e-4)
    np.testing.assert_allclose(pulls, FITTED.pulls(history(5), items), atol=1e-4)
