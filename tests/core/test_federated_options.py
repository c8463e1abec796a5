"""What defines the federated options taken from related work, one test or two for each."""

from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from flows.settings import read_settings
from metaem_core.config.factor import FactorConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.bias import fitted_biases
from metaem_core.data.ratings import RatingScale, hold_out
from metaem_core.evaluation.metrics import rmse
from metaem_core.federated.device import PrivateRatings
from metaem_core.federated.fcf import FcfServer, ItemUpload, fcf_step, solve_users
from metaem_core.federated.fedfast import Delegates, k_means
from metaem_core.federated.messages import Upload
from metaem_core.federated.virtual_ratings import with_virtual_ratings
from metaem_core.methods.factorisation.pretraining import Factorisation
from metaem_core.methods.metaem.pretraining import Pretraining
from metaem_core.training.optimizers import LazyAdam
from tasks.models.data import Domain
from tasks.models.metaem import read_model, write_model
from tasks.store.artifacts import Store
from tests.support.worlds import planted_ratings, random_ratings, tasteful_ratings

PLANTED = planted_ratings(growth=0.3)
RATINGS = random_ratings(n_users=120, n_items=200, mean_count=8, seed=1)


def chosen(*assignments: str) -> PretrainConfig:
    """What the command line's ``--set pretrain.<assignment>`` makes of the pretraining."""
    settings = read_settings({"config": None}, [f"pretrain.{each}" for each in assignments])
    return settings.pretrain


@cache
def best_rmse(*assignments: str) -> float:
    """Of pretraining on the planted world, on its ratings held out to stop by."""
    work = Pretraining(chosen(*assignments), PLANTED)
    assert all(np.isfinite(stats.loss) for stats in work.training.epochs(lambda _: None))
    return work.training.best_rmse


METAMF = ("common_size=8", "private_size=32")  # of V^c and V^p: products as wide as the default's


@pytest.mark.parametrize(
    ("options", "most"),
    [((), 1), (METAMF, 1.01), (("pseudo_items=1",), 1.005), (("clusters=10",), 1.05)],
)
def test_each_option_predicts(options: tuple[str, ...], most: float) -> None:
    """Better than the mean of all ratings, and by no more than ``most`` worse than the default."""
    kept, held = hold_out(PLANTED, chosen().holdout, chosen().seed)
    constant = rmse(np.full(len(held), kept.values.mean(), np.float32), held.values)
    assert best_rmse(*options) < 0.95 * constant
    assert best_rmse(*options) <= most * best_rmse()


def test_a_domain_of_unequal_widths_survives_its_artifact(store: Store) -> None:
    config = PretrainConfig(user_size=5, common_size=3, private_size=4, hidden_size=12)
    model, ids = Pretraining(config, RATINGS).model(), [f"{n:03}" for n in range(200)]
    with store.draft() as draft:
        write_model(draft, model, Domain(RATINGS, pl.Series(ids[:120]), pl.Series(ids)))
    read, users = read_model(store, draft.ref), torch.arange(120)
    items = torch.arange(120) + 80
    torch.testing.assert_close(
        read.rate_own(users, users, items), model.rate_own(users, users, items)
    )


def test_pseudo_items_are_trained_on_and_neither_validated_nor_part_of_a_bias() -> None:
    plain, padded = (Pretraining(chosen(f"pseudo_items={n}"), RATINGS) for n in (0, 3))
    for name in ("item_offsets", "item_features", "user_profiles"):
        assert torch.equal(getattr(plain.model(), name), getattr(padded.model(), name))
    assert plain.training.validate() == padded.training.validate()
    before, after = (next(work.training.epochs(lambda _: None)) for work in (plain, padded))
    assert after.n_ratings > 3 * before.n_ratings


def test_virtual_ratings_are_what_biases_expect_and_leave_real_ones_alone() -> None:
    """FedRec: about ``share`` times as many items as a user rated."""
    padded = with_virtual_ratings(RATINGS, 2.0, seed=5, scale=RatingScale())
    real = {(u, i): v for u, i, v in zip(RATINGS.users, RATINGS.items, RATINGS.values)}  # noqa: B905
    biases = fitted_biases(RATINGS)
    for user, item, value in zip(padded.users, padded.items, padded.values, strict=True):
        if (user, item) in real:
            assert value == real[user, item]
        else:  # a whole star, as a fraction would tell that nobody gave it
            assert value in {1, 2, 3, 4, 5}
            expected = biases.mean + biases.user[user] + biases.item[item]
            assert abs(value - expected.clip(1, 5)) <= 0.5
    places = padded.users * padded.n_items + padded.items
    assert (np.diff(places) > 0).all()
    assert real.keys() <= {*zip(padded.users, padded.items, strict=True)}
    own, shown = (np.bincount(each.users, minlength=120) for each in (RATINGS, padded))
    assert not shown[own == 0].any()
    assert np.corrcoef(own, shown - own)[0, 1] > 0.9
    assert 2.5 < len(padded) / len(RATINGS) < 3  # some are drawn twice or were rated


@pytest.mark.parametrize("other", ["payload=secure", "item_tower=personal"])
def test_pseudo_items_go_with_open_uploads_of_everything(other: str) -> None:
    with pytest.raises(ValueError, match="pseudo_items go with"):
        chosen("pseudo_items=1", other)


def crowds(members: int) -> torch.Tensor:
    """Three groups of users far from each other, in turn."""
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    noise = torch.randn(3 * members, 2, generator=torch.Generator().manual_seed(1))
    return centres.repeat(members, 1) + 0.1 * noise


def test_each_cohort_has_its_share_of_every_cluster() -> None:
    """FedFast's ActvSAMP; plain sampling would miss the share by chance."""
    group = k_means(crowds(40), 3)
    assert [len(set(group[i::3].tolist())) for i in range(3)] == [1, 1, 1]
    delegates = Delegates(LazyAdam(crowds(40), 0.1, 0.0), clusters=3, discount=0.5)
    cohorts = delegates.cohorts(torch.arange(120), 12, torch.Generator().manual_seed(2))
    assert sorted(torch.cat(cohorts).tolist()) == list(range(120))
    for cohort in cohorts:
        assert torch.bincount(group[cohort], minlength=3).tolist() == [4, 4, 4]


def test_users_out_of_a_round_follow_those_of_their_cluster() -> None:
    """FedFast's ActvAGG: one delegate steps, its own crowd moves along, the others stay."""
    table = crowds(5)
    start = table.clone()
    delegates = Delegates(LazyAdam(table, 0.1, 0.0), clusters=3, discount=0.5)
    delegates.cohorts(torch.arange(15), 15, torch.Generator())
    delegates.update(torch.tensor([4]), torch.tensor([[1.0, -1.0]]), Upload({}, 1.0, 1))
    moved = table - start
    torch.testing.assert_close(moved[4], torch.tensor([-0.1, 0.1]), rtol=1e-4, atol=1e-5)
    for follower in (1, 7, 10, 13):
        torch.testing.assert_close(moved[follower], moved[4] / 2, rtol=1e-4, atol=1e-5)
    others = [user for user in range(15) if user % 3 != 1]
    assert moved[others].abs().max() == 0


def first_round(*assignments: str) -> tuple[Pretraining, Tensor]:
    """A pretraining, and how far its first round moved each user's vector (m, k_u)."""
    work, moved = Pretraining(chosen(*assignments), RATINGS), list[Tensor]()
    table = work.training.rounds.server.users.table
    start = table.clone()
    next(work.training.epochs(lambda _: moved.append(table - start)))
    return work, moved[0]


def test_with_clusters_a_round_moves_all_who_train() -> None:
    work, moved = first_round("clusters=4", "cohort_size=30")
    assert len(work.training.users) < len(moved)  # some only sit there, such as cold users
    assert moved.any(1).nonzero().flatten().tolist() == work.training.users.tolist()
    _, moved = first_round("cohort_size=30")
    assert int(moved.any(1).sum()) == 30


def test_the_discount_scales_what_followers_take_over() -> None:
    options = "clusters=4", "cohort_size=30"
    work, less = first_round(*options, "discount=0.2")
    _, more = first_round(*options, "discount=0.4")
    followers = (less != more).any(1)
    assert int(followers.sum()) == len(work.training.users) - 29  # of four cohorts
    torch.testing.assert_close(more[followers], 2 * less[followers], rtol=1e-3, atol=1e-6)


def test_fcf_uploads_nothing_by_user_and_its_gradient_is_the_central_one() -> None:
    """Item vectors at random, every user's device and all ratings less their mean."""
    items = torch.randn(200, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    owner, rows = torch.from_numpy(RATINGS.users), torch.from_numpy(RATINGS.items)
    ratings = PrivateRatings(owner, rows, torch.from_numpy(RATINGS.values).double() - 3)
    download = FcfServer(items, 0.05, 0.0, damping=2.0).download(torch.arange(200))
    users = solve_users(download, ratings, 120)
    one = ratings.owner == 7
    seen, left = download.items[ratings.rows[one]], ratings.values[one]
    ridge = torch.vstack([seen, 2.0**0.5 * torch.eye(4, dtype=torch.float64)])
    wanted = torch.linalg.lstsq(ridge, torch.cat([left, torch.zeros(4).double()]).unsqueeze(1))
    torch.testing.assert_close(users[7], wanted.solution[:, 0])
    leaf = download.items.clone().requires_grad_()
    error = ratings.values - (users[ratings.owner] * leaf[ratings.rows]).sum(1)
    (central,) = torch.autograd.grad(error.square().sum(), [leaf])
    upload = fcf_step(download, ratings, 120)
    torch.testing.assert_close(upload.items, central, rtol=1e-12, atol=1e-12)
    assert vars(upload).keys() == {"items", "squared_error", "n_ratings"}


def factorised(*assignments: str) -> FactorConfig:
    """``metaem table3 --bases fcf``, as the command's grid asks for it."""
    settings = read_settings({"config": None, "bases": "fcf"}, assignments)
    return replace(settings.factors, base=settings.bases[0])


def test_fcfs_server_hears_of_every_rating_once_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """In sums over cohorts."""
    sent: list[ItemUpload] = []
    monkeypatch.setattr(FcfServer, "apply", lambda _, upload: sent.append(upload))
    work = Factorisation(factorised("factors.batch_size=30", "factors.epochs=2"), RATINGS)
    curve = list(work.epochs())
    kept, _ = hold_out(RATINGS, work.config.holdout, work.config.seed)
    assert len(sent) == -(-len(np.unique(kept.users)) // 30) * len(curve)
    assert sum(upload.n_ratings for upload in sent) == len(kept) * len(curve)


def test_fcf_predicts_about_as_well_as_mf_in_one_place() -> None:
    """And its users' vectors are each the best for the ratings on their device."""
    world = tasteful_ratings(n_users=1000, n_items=300, each=20, seed=1)
    best, config = {}, factorised("factors.size=4")
    for base in ("mf", "fcf"):
        work = Factorisation(replace(config, base=base), world)  # type: ignore[arg-type]
        untrained = work.model()
        curve = [epoch.validation_rmse for epoch in work.epochs()]
        best[base] = min(curve)
        model = work.model()
        assert (model.base, model.head, model.items.shape) == ("mf", (), untrained.items.shape)
    assert best["fcf"] < best["mf"] + 0.01
    kept, held = hold_out(world, config.holdout, config.seed)
    bias_alone = fitted_biases(kept).residuals(held)
    assert best["fcf"] < 0.8 * float(np.sqrt(np.mean(np.square(bias_alone))))
    left = torch.from_numpy(fitted_biases(kept).residuals(kept))
    seen, users = model.items[torch.from_numpy(kept.items)], torch.from_numpy(kept.users)
    error = left - (model.users[users] * seen).sum(1)
    slope = config.damping * model.users.clone()
    slope.index_add_(0, users, -error.unsqueeze(1) * seen)
    assert slope.abs().max() < 1e-3
