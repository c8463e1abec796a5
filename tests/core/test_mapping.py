"""Stage 2 against an independent central model, on users whose indices differ between domains."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import Sequential

from metaem_core.config.mapping import MappingConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.pair import DomainPair, Queries
from metaem_core.federated.server import MappingServer
from metaem_core.methods.metaem.cold_start import cold_predictor
from metaem_core.methods.metaem.mapping import MappingTraining
from metaem_core.methods.metaem.pretraining import Pretraining
from metaem_core.models.metaem import DomainModel
from tests.support.networks import sequential
from tests.support.worlds import random_ratings

SOURCE = random_ratings(n_users=50, n_items=40, mean_count=8, seed=1)
TARGET = random_ratings(n_users=60, n_items=30, mean_count=7, seed=2)
TRAIN_SOURCE = np.array([4, 31, 7, 22, 45, 13, 28])
TRAIN_TARGET = np.array([50, 1, 20, 33, 8, 41, 5])
SOURCE_OF = dict(zip(TRAIN_TARGET.tolist(), TRAIN_SOURCE.tolist(), strict=True))
COHORT = torch.tensor([1, 8, 20, 41, 50])  # target indices, as the server samples them
CONFIG = PretrainConfig(
    hidden_size=12, user_size=6, common_size=6, private_size=3, epochs=1, init_std=0.5
)


def stage(
    loss: str, centred: bool = True, base: str = "dnn"
) -> tuple[MappingTraining, Tensor, DomainModel]:
    held = np.isin(np.arange(TARGET.n_users), TRAIN_TARGET)
    pair = DomainPair(SOURCE, TARGET.of_users(held), TRAIN_SOURCE, TRAIN_TARGET)
    pretrain = replace(CONFIG, centred=centred, base=base)  # type: ignore[arg-type]
    model = Pretraining(pretrain, pair.target, torch.float64).model()
    for weights in model.gmf_weights:
        weights.copy_(torch.linspace(-1, 2, len(weights)))
    width = 6 + model.user_profiles.shape[1]
    draw = torch.Generator().manual_seed(4)
    vectors = torch.randn(SOURCE.n_users, width, generator=draw, dtype=torch.float64)
    config = MappingConfig(hidden_size=12, loss=loss)  # type: ignore[arg-type]
    nobody = Queries(TRAIN_SOURCE[:1], np.zeros(1, dtype=np.int64), np.ones(1, np.float32))
    work = MappingTraining(config, 1e-3, vectors, model, pair, nobody)
    for i, parameter in enumerate(work.training.rounds.server.network):  # leave the special start
        noise = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
        parameter.data += 0.3 * noise * (i + 1)
    return work, vectors, model


def require_gradient(work: MappingTraining, network: Sequential, loss: Tensor) -> None:
    """The round's gradient is that of a loss by ``network``, a copy of theta."""
    server, backend = work.training.rounds.server, work.training.rounds.backend
    assert isinstance(server, MappingServer)
    rows = backend.rows(COHORT)
    download = server.download(COHORT, rows)
    federated = server.gradients(download, backend.gather(download, COHORT, rows))
    central = torch.autograd.grad(loss, [*network.parameters()])
    torch.testing.assert_close(federated, central, rtol=1e-10, atol=1e-10)


def mapped(start: Sequence[Tensor], network: Sequential, vector: Tensor) -> Tensor:
    centre, scale, weight, constant, gain = start
    x = (vector - centre) * scale
    return weight @ x + constant + gain * network(x)


def rating(model: DomainModel, vector: Tensor, item: int) -> Tensor:
    """Eq. 13, with V^p made from the mapped vector."""
    private = sequential(model.meta_network)(vector[:6]).reshape(6, 3)
    items = sequential(model.item_tower)(model.common_items[item] @ private)
    taste = (gmf(model) * vector[:6]) @ items
    return taste + vector[6:] @ model.item_features[item] + model.item_offsets[item]


def gmf(model: DomainModel) -> Tensor:
    """The weights of GMF, in whose absence every product counts the same."""
    return model.gmf_weights[0] if model.gmf_weights else torch.ones(6, dtype=torch.float64)


@pytest.mark.parametrize(("centred", "base"), [(True, "dnn"), (False, "dnn"), (True, "gmf")])
def test_task_gradient_equals_central_autograd(centred: bool, base: str) -> None:
    """Eqs. 11, 13 and 14 rating by rating."""
    work, vectors, model = stage("task", centred, base)
    start, network = work.training.rounds.server.start, sequential(work.network)
    errors = []
    for user, item, value in zip(TARGET.users, TARGET.items, TARGET.values, strict=True):
        if int(user) in COHORT.tolist():
            vector = mapped(start, network, vectors[SOURCE_OF[int(user)]])
            errors.append((float(value) - rating(model, vector, item)) ** 2)
    require_gradient(work, network, torch.stack(errors).mean())


@pytest.mark.parametrize("base", ["dnn", "gmf"])
def test_distance_gradient_equals_central_autograd(base: str) -> None:
    """Eq. 12 with the target's own vector of the same user; GMF's as ratings weigh it."""
    work, vectors, model = stage("distance", base=base)
    start, network = work.training.rounds.server.start, sequential(work.network)
    goal = model.embed_users(torch.arange(TARGET.n_users))
    counted = torch.cat([gmf(model), torch.ones(goal.shape[1] - 6)])
    distances = [
        (mapped(start, network, vectors[SOURCE_OF[user]]) - goal[user]).mul(counted).square().sum()
        for user in COHORT.tolist()
    ]
    require_gradient(work, network, torch.stack(distances).mean())


@pytest.mark.parametrize("base", ["dnn", "gmf"])
def test_a_cold_user_is_rated_by_their_mapped_vector(base: str) -> None:
    """Eq. 13 for users and items in any order."""
    work, vectors, model = stage("task", base=base)
    network = sequential(work.mapping()[5:])
    users, items = np.array([17, 3, 17]), np.array([2, 29, 0])
    rated = cold_predictor(work.map_users, model)(users, items)
    for user, item, value in zip(users, items, rated, strict=True):
        expected = rating(model, mapped(work.mapping()[:5], network, vectors[user]), item)
        assert value == pytest.approx(float(expected.detach()), abs=1e-5)
