"""Baselines of lists against a few lines of dense numpy, and on a world with something to find."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from metaem_core.config.choice import (
    ChoiceBaselinesConfig,
    EaseConfig,
    EmcdrIalsConfig,
    IalsConfig,
    ItemKnnConfig,
    UserKnnConfig,
)
from metaem_core.data.choices import ChoicePair, Choices, Scores
from metaem_core.evaluation.ranking import ndcg_at_k, place_at
from metaem_core.methods.choice_baselines import item_knn as item_knn_module
from metaem_core.methods.choice_baselines import joint as joint_module
from metaem_core.methods.choice_baselines.blend import kernel_ridge, low_rank_ridge, standardised
from metaem_core.methods.choice_baselines.ease import ease
from metaem_core.methods.choice_baselines.emcdr_ials import emcdr_ials, mapped, source_features
from metaem_core.methods.choice_baselines.factors import domain_factors, half_step
from metaem_core.methods.choice_baselines.ials import groups
from metaem_core.methods.choice_baselines.item_knn import item_knn
from metaem_core.methods.choice_baselines.joint import Joint, TooLarge
from metaem_core.methods.choice_baselines.registry import CHOICE_BASELINES
from metaem_core.methods.choice_baselines.user_knn import user_knn

Table = NDArray[np.float64]
SMALL = IalsConfig(size=3, epochs=4)


def chosen(table: Table) -> Choices:
    return Choices.of_pairs(*np.nonzero(table), *table.shape)


def random_tables(seed: int) -> tuple[Table, Table, Tensor, Tensor]:
    """Source (30, 12) and target (25, 9); source users 4 to 13 are target users 12 down to 3.

    Target users 20 on are held out, source user 0 chose nothing, nobody chose target item 1.
    """
    draw = np.random.default_rng(seed)
    source = (draw.random((30, 12)) < 0.3).astype(np.float64)
    target = (draw.random((25, 9)) < 0.3).astype(np.float64)
    source[0], target[20:], target[:, 1] = 0, 0, 0
    source[4, 0] = target[12, 0] = 1
    return source, target, torch.arange(4, 14), torch.arange(12, 2, -1)


def random_pair(seed: int) -> ChoicePair:
    source, target, *overlap = random_tables(seed)
    return ChoicePair(chosen(source), chosen(target), *overlap)


def joint_table(seed: int) -> tuple[Table, Table]:
    """The joint matrix in any order of its rows, and where an entry counts."""
    source, target, mine, theirs = random_tables(seed)
    x, met = np.zeros((2, 30 + 25, 12 + 9))
    x[:30, :12], met[:30, :12] = source, 1
    place = 30 + np.arange(25)
    place[theirs] = mine
    x[place, 12:], met[place, 12:] = target, 1
    return x[x.any(1)], met[x.any(1)]


def score_all(scores: Scores, n_users: int = 30) -> Table:
    """Of all source users, in two calls and not in their order."""
    order = torch.arange(n_users).flip(0)
    parts = [scores(users).double().numpy() for users in torch.split(order, 20)]
    return np.concatenate(parts)[::-1]


def keep_largest(values: Table, n: int) -> tuple[Table, NDArray[np.bool_]]:
    """The n largest of each row, and the rows in which these are no matter of ties."""
    ordered = -np.sort(-values, axis=1)
    certain = ordered[:, n - 1] > ordered[:, n] + 1e-9
    return np.where(values >= ordered[:, n - 1 : n], values, 0), certain


@pytest.mark.parametrize("damping", [0.0, 2.0])
def test_user_knn_is_a_sum_over_the_nearest_users_of_the_overlap(damping: float) -> None:
    source, target, mine, theirs = random_tables(0)
    size = source.sum(1)
    lengths = np.sqrt(np.outer(size, size[mine])) + damping + 1e-9
    similarity, certain = keep_largest(source @ source[mine].T / lengths, 3)
    expected = similarity @ target[theirs] + 0.5 * target.sum(0) / target.any(1).sum()
    config = UserKnnConfig(neighbours=3, damping=damping, prior=0.5)
    got = score_all(user_knn(random_pair(0), config))
    assert certain.sum() > 5
    np.testing.assert_allclose(got[certain], expected[certain], atol=1e-5)


@pytest.mark.parametrize("block", [1, 5, 256])
def test_item_knn_is_a_cosine_of_columns(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_knn_module, "BLOCK", block)
    x, _ = joint_table(1)
    source, target, *_ = random_tables(1)
    lengths = np.sqrt(np.outer(x[:, :12].sum(0), x[:, 12:].sum(0))) + 2
    similarity = x[:, :12].T @ x[:, 12:] / lengths
    popular = 0.5 * target.sum(0) / target.any(1).sum()
    config = ItemKnnConfig(neighbours=9, damping=2, prior=0.5)
    got = score_all(item_knn(random_pair(1), config))
    np.testing.assert_allclose(got, source @ similarity + popular, atol=1e-5)
    nearest, certain = keep_largest(similarity, 4)
    alone = np.flatnonzero(~source[:, ~certain].any(1))
    got = score_all(item_knn(random_pair(1), replace(config, neighbours=4)))
    np.testing.assert_allclose(got[alone], (source @ nearest + popular)[alone], atol=1e-5)


@pytest.mark.parametrize("block", [4, 1024])
def test_ease_is_its_closed_form(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint_module, "BLOCK", block)
    x, _ = joint_table(2)
    inverse = np.linalg.inv(x.T @ x + 3 * np.eye(21))
    weights = -inverse / np.diag(inverse)
    got = score_all(ease(random_pair(2), EaseConfig(l2=3)))
    np.testing.assert_allclose(got, random_tables(2)[0] @ weights[:12, 12:], atol=1e-5)


def test_ease_says_when_there_are_too_many_items() -> None:
    with pytest.raises(TooLarge, match="21 x 21 items, more than most_items = 20"):
        ease(random_pair(2), EaseConfig(most_items=20))


def masked_loss(x: Tensor, met: Tensor, users: Tensor, items: Tensor) -> Tensor:
    """The whole-data loss, an entry at a time."""
    a, rated = SMALL.unobserved, users @ items.T
    fit = x * (1 - rated).square() + a * met * rated.square()
    sizes = x + a * met
    ridge = sizes.sum(1) @ users.square().sum(1) + sizes.sum(0) @ items.square().sum(1)
    return fit.sum() + SMALL.l2 * ridge


def loss_if_solved(x: Tensor, met: Tensor, vectors: list[Tensor], side: int) -> float:
    """The loss, whose gradient by that side's vectors must vanish."""
    solved = vectors[side].requires_grad_()
    loss = masked_loss(x, met, *vectors)
    assert torch.autograd.grad(loss, solved)[0].abs().max() < 1e-9
    solved.requires_grad_(False)
    return loss.item()


def test_each_half_step_of_ials_solves_its_side_of_the_masked_loss() -> None:
    joint = Joint.of(random_pair(3))
    by_user, by_item = groups(joint)
    x, met = torch.zeros(2, joint.choices.n_users, joint.choices.n_items, dtype=torch.float64)
    x[joint.choices.owner, joint.choices.items] = 1
    for group in by_user:
        met[group.rows, group.columns] = 1
    expected = np.concatenate(joint_table(3), axis=1)
    assert sorted(torch.cat([x, met], 1).tolist()) == sorted(expected.tolist())
    items = torch.randn(21, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(4):
        users = half_step(joint.choices, by_user, items, SMALL)
        losses.append(loss_if_solved(x, met, [users, items], 0))
        items = half_step(joint.choices.transposed(), by_item, users, SMALL)
        losses.append(loss_if_solved(x, met, [users, items], 1))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.9 * losses[0]


def dense_users(table: Table, items: Table, config: IalsConfig) -> Table:
    """The best vector of each row, one normal equation at a time."""
    everyone = config.unobserved * items.T @ items
    rows = []
    for row in table:
        damping = config.l2 * (row.sum() + config.unobserved * len(items))
        left = items.T @ (row[:, None] * items) + everyone + damping * np.eye(items.shape[1])
        rows.append(np.linalg.solve(left, items.T @ row))
    return np.array(rows)


def dense_features(seed: int) -> tuple[Table, Table]:
    source = random_tables(seed)[0]
    items = domain_factors(chosen(source), SMALL).vectors.double().numpy()
    users = dense_users(source, items, SMALL)
    features = np.c_[np.ones(30), users / users[source.any(1)].std(0, ddof=1)]
    target_items = domain_factors(random_pair(seed).target, SMALL).vectors.double().numpy()
    return features, target_items


def test_emcdr_on_ials_is_a_ridge_between_vectors() -> None:
    _, target, mine, theirs = random_tables(4)
    features, items = dense_features(4)
    both = target[theirs].any(1)
    f, u = features[mine[both]], dense_users(target[theirs[both]], items, SMALL)
    ridge = np.diag([0, *[0.1 * len(f)] * 3])
    expected = features @ np.linalg.solve(f.T @ f + ridge, f.T @ u) @ items.T
    got = score_all(emcdr_ials(random_pair(4), EmcdrIalsConfig(SMALL, damping=10)))
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_both_ridges_of_the_blend_fit_what_popularity_leaves_of_the_overlaps_choices() -> None:
    source, target, mine, theirs = random_tables(5)
    both = source[mine].any(1) & target[theirs].any(1)
    y = target[theirs[both]]
    prior = (y.sum(0) + 20 * target.sum(0) / target.any(1).sum()) / (len(y) + 20)
    features, _ = dense_features(5)
    f = features[mine[both]]
    expected = prior + features @ np.linalg.solve(f.T @ f + 7 * np.eye(4), f.T @ (y - prior))
    pair = random_pair(5)
    own = source_features(pair, SMALL)
    np.testing.assert_allclose(score_all(low_rank_ridge(pair, own, 7)), expected, atol=1e-4)

    unit = source / np.sqrt(source.sum(1, keepdims=True).clip(1))
    mates = unit[mine[both]]
    inverse = np.linalg.inv(mates @ mates.T + 2 * np.eye(len(mates)))
    expected = prior + unit @ mates.T @ inverse @ (y - prior)
    np.testing.assert_allclose(score_all(kernel_ridge(pair, 2, len(y))), expected, atol=1e-5)
    with pytest.raises(TooLarge, match="more than most_users"):
        kernel_ridge(pair, 2, len(y) - 1)


def test_the_blend_is_the_mean_of_its_parts_standardised() -> None:
    pair, config = random_pair(6), ChoiceBaselinesConfig()
    features, own = source_features(pair, config.emcdr_ials.factors), config.blend
    parts = [
        mapped(pair, features, config.emcdr_ials),
        low_rank_ridge(pair, features, own.low_rank_damping),
        kernel_ridge(pair, own.kernel_damping, own.most_users),
    ]
    scores = [score_all(part) for part in parts]
    standard = [(s - s.mean(1, keepdims=True)) / s.std(1, ddof=1, keepdims=True) for s in scores]
    got = score_all(CHOICE_BASELINES["choice_blend"](pair, config))
    np.testing.assert_allclose(got, np.mean(standard, axis=0), atol=1e-4)
    assert standardised(torch.ones(2, 5)).eq(0).all()


def camps(seed: int) -> tuple[ChoicePair, Tensor, Choices]:
    """Four camps of users choose mostly their quarter of both domains; the last 100 are cold."""
    draw = np.random.default_rng(seed)
    camp = draw.integers(0, 4, 500)
    tables = []
    for n_items in (60, 80):
        own = camp[:, None] == np.arange(n_items) % 4
        chance = np.where(own, 0.3, 0.03) * draw.uniform(0.2, 1.8, n_items)
        tables.append(np.asarray(draw.random((500, n_items)) < chance, np.float64))
    source, target = tables
    cold = np.flatnonzero(target.any(1) & (np.arange(500) >= 400))
    hidden = target[cold]
    target[400:] = 0
    overlap = torch.arange(400)
    pair = ChoicePair(chosen(source), chosen(target), overlap, overlap)
    return pair, torch.from_numpy(cold), chosen(hidden)


def test_every_baseline_beats_popularity_where_taste_carries_over() -> None:
    pair, cold, hidden = camps(0)
    ndcg = {}
    for name, fit in CHOICE_BASELINES.items():
        scores = fit(pair, ChoiceBaselinesConfig())(cold)
        assert scores.dtype == torch.float32
        placed = place_at(scores.numpy(), hidden.owner.numpy(), hidden.items.numpy())
        ndcg[name] = float(ndcg_at_k(placed, 10).mean())
    popular = ndcg.pop("popularity")
    assert min(ndcg.values()) > 1.5 * popular
