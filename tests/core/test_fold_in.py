"""The fold-in against its optimality condition, and what a user is given against their ratings."""

import numpy as np
import pytest
import torch
from torch import Tensor

from metaem_core.config.pretrain import PretrainConfig
from metaem_core.methods.metaem.pretraining import Pretraining
from metaem_core.models import fold_in as fold_in_module
from metaem_core.models.fold_in import Rated, closeness, fold_in, private_view
from metaem_core.models.metaem import DomainModel
from tests.support.worlds import random_ratings


@pytest.fixture(params=[True, False], ids=["calibrated", "paper"])
def model(request: pytest.FixtureRequest) -> DomainModel:
    config = PretrainConfig(
        hidden_size=16, user_size=6, common_size=6, private_size=3, centred=request.param
    )
    return Pretraining(config, random_ratings(9, 12, 4.0, seed=3)).model()


def ratings_of(users: int, draw: torch.Generator) -> Rated:
    owner = torch.arange(users).repeat_interleave(5)
    items = torch.randint(12, (len(owner),), generator=draw)
    values = torch.randint(1, 6, (len(owner),), generator=draw).float()
    return Rated(torch.arange(users), owner, items, values)


@pytest.mark.parametrize("block", [3, fold_in_module.BLOCK])
def test_the_gradient_vanishes_at_the_fold_in(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of five users has no ratings."""
    monkeypatch.setattr(fold_in_module, "BLOCK", block)
    draw = torch.Generator().manual_seed(0)
    rated = ratings_of(4, draw)
    seen, left = torch.randn(len(rated.owner), 3, generator=draw), rated.values - 3
    users = fold_in(seen, left, rated.owner, 5, damping=0.7)
    error = (seen * users[rated.owner]).sum(1) - left
    slope = torch.zeros(5, 3).index_add_(0, rated.owner, seen * error.unsqueeze(1)) + 0.7 * users
    assert slope.abs().max() < 1e-4


def test_items_are_seen_as_they_are_rated_by(model: DomainModel) -> None:
    """Offset, item features and the product with the seen items make the model's own prediction."""
    draw = torch.Generator().manual_seed(3)
    rated = ratings_of(4, draw)
    k = model.user_embeddings.shape[1]
    weights = model.user_weights(torch.arange(4))
    vectors = torch.cat([torch.randn(4, k, generator=draw), weights], 1)
    seen = private_view(model, model.private_items(vectors), rated)
    taste = (vectors[rated.owner, :k] * seen).sum(1)
    expected = model.rate(vectors, rated.owner, rated.items)
    predicted = model.item_offsets[rated.items] + weights[rated.owner].sum(1) + taste
    torch.testing.assert_close(predicted, expected)


def test_what_is_left_has_no_bias_where_biases_are_modelled() -> None:
    """User 0 rates item 0 by 5 stars 15 times: damped by 15, half of the surplus is their bias."""
    many = torch.zeros(15, dtype=torch.long)
    rated = Rated(torch.arange(1), many, many, torch.full((15,), 5.0))
    offsets = torch.tensor([3.0])
    assert rated.residuals(offsets, centred=True).tolist() == pytest.approx([1.0] * 15)
    assert rated.residuals(offsets, centred=False).tolist() == pytest.approx([2.0] * 15)


def line(*places: float) -> Tensor:
    return torch.tensor(places).unsqueeze(1)


def test_closeness_by_hand() -> None:
    own, others = closeness(line(0, 10), line(1, 12))
    assert own == pytest.approx((1 + 2) / 2)
    assert others == pytest.approx((12 + 9) / 2)
    assert closeness(line(1), line(1)) == (0.0, 0.0)
    assert np.isfinite(closeness(line(1, 1), line(1, 1))).all()
