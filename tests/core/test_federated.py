"""The cohort simulation and a central autograd model agree."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.ratings import Ratings
from metaem_core.federated.personal_towers import PersonalTowers
from metaem_core.federated.rounds import Backend
from metaem_core.federated.simulation import CohortSimulation, DeviceStore
from metaem_core.methods.metaem.pretraining import Pretraining
from metaem_core.models.metaem import DomainModel
from tests.support.networks import sequential
from tests.support.worlds import from_table, random_ratings

RATINGS = random_ratings(n_users=40, n_items=60, mean_count=9, seed=3)
COHORT = torch.tensor([1, 2, 3, 5, 8, 13, 21, 34, 39])
# k_u, k_c, k_p; MetaMF's k_c < k_p is among the shapes
WIDTHS = {"user_size": 5, "common_size": 3, "private_size": 7}


def pretraining(dtype: torch.dtype, **options: object) -> Pretraining:
    config = replace(PretrainConfig(hidden_size=24, init_std=0.5, cohort_size=16), **options)  # type: ignore[arg-type]
    return Pretraining(config, RATINGS, dtype)


def worst_error(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> float:
    """Largest difference relative to each tensor's largest entry."""
    return max(
        float((a - b).abs().max() / b.abs().max().clamp_min(1e-30))
        for a, b in zip(ours, theirs, strict=True)
    )


def round_gradients(stage: Pretraining, backend: Backend) -> tuple[Tensor, ...]:
    rows = backend.rows(COHORT)
    download = stage.training.rounds.server.download(COHORT, rows)
    upload = backend.gather(download, COHORT, rows)
    gradients = stage.training.rounds.server.gradients(download, upload)
    items = torch.zeros(RATINGS.n_items, stage.config.common_size, dtype=stage.dtype)
    items[rows] = gradients.items
    return gradients.users, items, *gradients.networks


OPTIONS = [
    {"meta_reads_raw": False, "relu_last": False},
    {"meta_reads_raw": True},
    {"relu_last": True},
    {"meta_reads_raw": True, "relu_last": True},
    {"base": "mf"},
    {"base": "gmf"},
    {"base": "mf", "meta_reads_raw": True, "relu_last": True},
    {"base": "gmf", "meta_reads_raw": True, "relu_last": True},
    WIDTHS,
    {**WIDTHS, "centred": False},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_federated_gradient_equals_central_autograd(options: dict[str, object]) -> None:
    """Towers of mf and gmf have one layer, w of gmf either sign."""
    stage = pretraining(torch.float64, **options)
    assert (len(stage._model.item_tower) == 2) == ("base" in options)
    for weights in stage._model.gmf_weights:
        weights.copy_(torch.linspace(-1, 2, len(weights)))
    federated = round_gradients(stage, CohortSimulation(RATINGS, torch.float64))
    assert federated[0].shape == (len(COHORT), stage.config.user_size)
    assert worst_error(federated, central_gradients(stage._model, RATINGS)) < 1e-12


def central_gradients(model: DomainModel, ratings: Ratings) -> tuple[Tensor, ...]:
    """Eqs. 2-8 rating by rating on torch's own modules, everything in one place."""
    users = model.user_embeddings.clone().requires_grad_()
    items = model.common_items.clone().requires_grad_()
    meta, user_tower, item_tower = (
        sequential(getattr(model, name), model.relu_last)
        for name in ("meta_network", "user_tower", "item_tower")
    )
    weights = [each.clone().requires_grad_() for each in model.gmf_weights]
    errors = []
    cohort = set(COHORT.tolist())
    for user, item, value in zip(ratings.users, ratings.items, ratings.values, strict=True):
        if int(user) in cohort:
            vector = user_tower(users[user])
            seen = users[user] if model.meta_reads_raw else vector
            private = meta(seen).reshape(items.shape[1], -1)
            products = vector * item_tower(items[item] @ private)
            taste = products @ weights[0] if weights else products.sum()
            rating = taste + model.item_offsets[item] + model.user_profiles[user, :1].sum()
            errors.append((float(value) - rating) ** 2)
    parameters = [p for m in (meta, user_tower, item_tower) for p in m.parameters()] + weights
    loss = torch.stack(errors).mean()
    gradients = torch.autograd.grad(loss, [users, items, *parameters])
    return gradients[0][COHORT], *gradients[1:]


def test_personal_towers_stay_on_their_devices() -> None:
    stage = pretraining(torch.float32, item_tower="personal", epochs=1)
    towers = stage.training.rounds.backend
    assert isinstance(towers, PersonalTowers)
    server_copy = [p.clone() for p in stage._model.item_tower]
    rows = towers.rows(COHORT)
    upload = towers.gather(stage.training.rounds.server.download(COHORT, rows), COHORT, rows)
    assert "item_tower" not in upload.gradients
    for table, start in zip(towers.optimizers, server_copy, strict=True):
        moved = (table.table != start).flatten(1).any(1)
        assert set(moved.nonzero().flatten().tolist()) <= set(COHORT.tolist())
    assert (towers.optimizers[0].table != server_copy[0]).any()


def test_a_device_holds_its_users_ratings_and_no_other() -> None:
    table = np.array([[5, 0, 3], [0, 0, 0], [0, 2, 0], [1, 4, 0]])
    store = DeviceStore(from_table(table), torch.float32)
    for user, row in enumerate(table):
        items, values = store.of_device(user)
        assert items.tolist() == row.nonzero()[0].tolist()
        assert values.tolist() == row[row > 0].tolist()
