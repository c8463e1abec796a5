"""Pretraining in one place against plain torch: dense tables, autograd and torch's own Adam."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from metaem_core.config.factor import Base, FactorConfig
from metaem_core.data.bias import fitted_biases
from metaem_core.data.ratings import Ratings, hold_out
from metaem_core.methods.factorisation.pretraining import Factorisation
from metaem_core.models.factors import FactorModel
from metaem_core.training.seeds import derived_generator
from tests.support.worlds import random_ratings

RATINGS = random_ratings(n_users=40, n_items=25, mean_count=6, seed=0)
SPARSE = FactorConfig(size=3, batch_size=8, learning_rate=0.02, l2=0, init_std=0.5, epochs=3)
BASES: tuple[Base, ...] = ("mf", "gmf", "dnn")


def trained(config: FactorConfig, ratings: Ratings = RATINGS) -> Factorisation:
    work = Factorisation(config, ratings)
    for _ in work.epochs():
        pass
    return work


def score(base: Base, users: Tensor, items: Tensor, head: list[Tensor]) -> Tensor:
    """One rating at a time would say the same; (B, k), (B, k) -> (B,)."""
    if base == "dnn":
        sides = []
        for side, (w1, b1, w2, b2) in ((users, head[:4]), (items, head[4:])):
            sides.append((side @ w1.T + b1).clamp(min=0) @ w2.T + b2)
        users, items = sides
    return torch.einsum("bk,bk,k->b", users, items, head[0] if base == "gmf" else torch.ones(3))


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("base", BASES)
def test_it_is_dense_adam_on_squared_errors(base: Base, centred: bool) -> None:
    """Rows outside a batch of 8 move too; biases are fitted first and stay."""
    config = replace(SPARSE, base=base, centred=centred, holdout=0, patience=0)
    begin = Factorisation(config, RATINGS).model()
    users, items = (t.clone().requires_grad_() for t in (begin.users, begin.items))
    head = [p.clone().requires_grad_() for p in begin.head]
    adam = torch.optim.Adam([users, items, *head], lr=0.02)
    left = torch.from_numpy(
        fitted_biases(RATINGS).residuals(RATINGS) if centred else RATINGS.values
    ).float()
    who, what = torch.from_numpy(RATINGS.users), torch.from_numpy(RATINGS.items)
    for epoch in (1, 2, 3):
        order = derived_generator(0, epoch)
        for batch in torch.randperm(len(RATINGS), generator=order).split(8):
            adam.zero_grad()
            rated = score(base, users[who[batch]], items[what[batch]], head)
            (left[batch] - rated).square().mean().backward()
            adam.step()
    model = trained(config).model()
    for ours, theirs in zip(
        (model.users, model.items, *model.head), (users, items, *head), strict=True
    ):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("base", BASES)
def test_a_rating_is_offset_and_bias_and_score(base: Base) -> None:
    model = trained(replace(SPARSE, base=base)).model()
    users, items = torch.from_numpy(RATINGS.users), torch.from_numpy(RATINGS.items)
    biases = fitted_biases(RATINGS)  # of all ratings, those held out to stop by among them
    taste = score(base, model.users[users], model.items[items], list(model.head))
    level = RATINGS.values - biases.residuals(RATINGS)
    expected = taste + torch.from_numpy(level)
    torch.testing.assert_close(model.rate_own(users, items), expected, rtol=1e-4, atol=1e-5)
    flat = model.flattened()
    assert flat.head == ()
    torch.testing.assert_close(flat.rate_own(users, items), expected, rtol=1e-4, atol=1e-5)
    left = torch.from_numpy(RATINGS.values) - model.rate_own(users, items) + taste
    residuals = model.residuals(RATINGS)
    torch.testing.assert_close(residuals, left, rtol=1e-4, atol=1e-5)


def held_out_rmse(model: FactorModel, config: FactorConfig) -> float:
    """Of the ratings kept out, by biases of those kept in."""
    kept, held = hold_out(RATINGS, config.holdout, config.seed)
    biases = fitted_biases(kept)
    level = biases.mean + biases.item[held.items] + biases.user[held.users]
    users, items = torch.from_numpy(held.users), torch.from_numpy(held.items)
    taste = score("mf", model.users[users], model.items[items], [])
    rated = np.clip(level + taste.numpy(), 1, 5)
    return float(np.sqrt(np.mean((rated - held.values) ** 2)))


WILD = {"learning_rate": 1.0, "init_std": 0.01, "patience": 2}  # only harms


@pytest.mark.parametrize(("options", "harmful"), [({"patience": 4}, False), (WILD, True)])
def test_the_best_epoch_by_held_out_ratings_is_kept(
    options: dict[str, float], harmful: bool
) -> None:
    config = replace(SPARSE, holdout=0.2, epochs=30, **options)  # type: ignore[arg-type]
    work = Factorisation(config, RATINGS)
    start, begin = held_out_rmse(work.model(), config), work.model().users.clone()
    curve = [stats.validation_rmse for stats in work.epochs()]
    assert len(curve) < 30
    assert held_out_rmse(work.model(), config) == pytest.approx(min(start, *curve), abs=1e-5)
    assert curve[-1] > min(start, *curve)
    assert torch.equal(work.model().users, begin) == harmful
    assert (len(curve) == config.patience) == harmful


def test_held_out_ratings_are_not_trained_on() -> None:
    config = replace(SPARSE, centred=False, holdout=0.3, patience=0)
    held = hold_out(RATINGS, 0.3, 0)[1]
    pairs = set(zip(held.users.tolist(), held.items.tolist(), strict=True))
    values = RATINGS.values.copy()
    for row, pair in enumerate(zip(RATINGS.users.tolist(), RATINGS.items.tolist(), strict=True)):
        if pair in pairs:
            values[row] = 6 - values[row]
    tables = [trained(config, replace(RATINGS, values=v)).model() for v in (RATINGS.values, values)]
    assert torch.equal(tables[0].users, tables[1].users)
    assert torch.equal(tables[0].items, tables[1].items)


def test_two_domains_of_one_seed_start_apart() -> None:
    """Shared users often have like indices: a map would find their start, not their taste."""
    other = replace(RATINGS, n_users=41)
    first, second = (Factorisation(SPARSE, r).model().users[:40] for r in (RATINGS, other))
    assert abs(float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])) < 0.3
