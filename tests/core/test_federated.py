"""The cohort simulation, the device-by-device loop and a central autograd model agree."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import Linear, ReLU, Sequential

from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.ratings import Ratings
from metaem_core.federated import device
from metaem_core.federated.device import PrivateRatings, device_step
from metaem_core.federated.messages import tensors_of
from metaem_core.federated.personal_towers import PersonalTowers
from metaem_core.federated.rounds import Backend
from metaem_core.federated.simulation import CohortSimulation
from metaem_core.methods.metaem.cold_start import cold_predictor
from metaem_core.methods.metaem.pretraining import Pretraining
from metaem_core.models.metaem import DomainModel
from tests.support.device_loops import DeviceLoop
from tests.support.worlds import random_ratings

RATINGS = random_ratings(n_users=40, n_items=60, mean_count=9, seed=3)
COHORT = torch.tensor([1, 2, 3, 5, 8, 13, 21, 34, 39])
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}


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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("meta_reads_raw", [True, False])
@pytest.mark.parametrize("relu_last", [True, False])
def test_cohort_equals_device_by_device(
    dtype: torch.dtype, meta_reads_raw: bool, relu_last: bool
) -> None:
    stage = pretraining(dtype, meta_reads_raw=meta_reads_raw, relu_last=relu_last)
    cohort = round_gradients(stage, CohortSimulation(RATINGS, dtype))
    loop = round_gradients(stage, DeviceLoop(RATINGS, dtype))
    assert worst_error(cohort, loop) < TOLERANCE[dtype]


@pytest.mark.parametrize("meta_reads_raw", [True, False])
@pytest.mark.parametrize("relu_last", [True, False])
def test_federated_gradient_equals_central_autograd(meta_reads_raw: bool, relu_last: bool) -> None:
    stage = pretraining(torch.float64, meta_reads_raw=meta_reads_raw, relu_last=relu_last)
    federated = round_gradients(stage, CohortSimulation(RATINGS, torch.float64))
    central = central_gradients(stage._model, RATINGS)
    assert worst_error(federated, central) < 1e-12


@pytest.mark.parametrize("block", [1, 7, 40])
def test_blocks_of_ratings_add_up_to_the_cohort(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = pretraining(torch.float64)
    at_once = round_gradients(stage, CohortSimulation(RATINGS, torch.float64))
    monkeypatch.setattr(device, "BLOCK", block)
    by_block = round_gradients(stage, CohortSimulation(RATINGS, torch.float64))
    assert worst_error(by_block, at_once) < 1e-12


@pytest.mark.parametrize("options", [{}, {"relu_last": True, "meta_reads_raw": True}])
@pytest.mark.parametrize("base", ["mf", "gmf"])
def test_one_layer_towers_have_the_central_gradient_too(
    base: str, options: dict[str, bool]
) -> None:
    """The base models mf, MLP_user and MLP_item without hidden layers, and gmf: w of any sign."""
    stage = pretraining(torch.float64, base=base, **options)
    assert len(stage._model.user_tower) == len(stage._model.item_tower) == 2
    for weights in stage._model.gmf_weights:
        weights.copy_(torch.linspace(-1, 2, len(weights)))
    assert bool(stage._model.gmf_weights) == (base == "gmf")
    federated = round_gradients(stage, CohortSimulation(RATINGS, torch.float64))
    assert worst_error(federated, central_gradients(stage._model, RATINGS)) < 1e-12


@pytest.mark.parametrize("centred", [True, False])
def test_widths_of_their_own_have_the_central_gradient_too(centred: bool) -> None:
    """k_u, k_c and k_p all differ; MetaMF's k_c < k_p is among the shapes."""
    widths = {"user_size": 5, "common_size": 3, "private_size": 7}
    stage = pretraining(torch.float64, centred=centred, **widths)
    federated = round_gradients(stage, CohortSimulation(RATINGS, torch.float64))
    assert federated[0].shape == (len(COHORT), 5)
    assert worst_error(federated, central_gradients(stage._model, RATINGS)) < 1e-12


def central_gradients(model: DomainModel, ratings: Ratings) -> tuple[Tensor, ...]:
    """Eqs. 2-8 rating by rating on torch's own modules, everything in one place."""
    users = model.user_embeddings.clone().requires_grad_()
    items = model.common_items.clone().requires_grad_()
    meta, user_tower, item_tower = (
        module(getattr(model, name), model.relu_last)
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


def module(parameters: tuple[Tensor, ...], relu_last: bool) -> Sequential:
    layers: list[torch.nn.Module] = []
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        layer = Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
        layer.load_state_dict({"weight": weight, "bias": bias})
        layers += [layer, ReLU()]
    return Sequential(*(layers if relu_last else layers[:-1]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_cohort_equals_device_by_device_with_personal_towers(dtype: torch.dtype) -> None:
    stage = pretraining(dtype)
    generator = torch.Generator().manual_seed(7)
    own = tuple(
        torch.randn(len(COHORT), *p.shape, generator=generator, dtype=dtype) * 0.3
        for p in stage._model.item_tower
    )
    answers = []
    for backend in (CohortSimulation(RATINGS, dtype), DeviceLoop(RATINGS, dtype)):
        rows = backend.rows(COHORT)
        download = stage.training.rounds.server.download(COHORT, rows).replaced({"item_tower": own})
        upload = backend.gather(download, COHORT, rows)
        items = torch.zeros(RATINGS.n_items, stage.config.common_size, dtype=dtype)
        items[rows] = upload.gradients["common_items"][0]
        received = ("user_vectors", "private_items", "item_tower")
        answers.append((items, *(t for name in received for t in upload.gradients[name])))
    assert worst_error(*answers) < TOLERANCE[dtype]


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


def test_an_upload_holds_gradients_of_what_was_downloaded_and_nothing_else() -> None:
    stage = pretraining(torch.float32)
    backend = CohortSimulation(RATINGS, torch.float32)
    rows = backend.rows(COHORT)
    download = stage.training.rounds.server.download(COHORT, rows)
    upload = backend.gather(download, COHORT, rows)
    assert upload.gradients.keys() == download.trained
    for name, gradient in upload.gradients.items():
        assert [g.shape for g in gradient] == [t.shape for t in tensors_of(download, name)]


def test_a_phone_is_a_cohort_of_one() -> None:
    stage = pretraining(torch.float64)
    everything = torch.arange(RATINGS.n_items)
    phone = stage.training.rounds.server.download(torch.tensor([8]), everything)
    mine = RATINGS.users == 8
    items = torch.from_numpy(RATINGS.items[mine])
    values = torch.from_numpy(RATINGS.values[mine]).double()
    upload = device_step(phone, PrivateRatings(torch.zeros_like(items), items, values))
    touched = upload.gradients["common_items"][0].abs().sum(1) > 0
    assert set(touched.nonzero().flatten().tolist()) == set(items.tolist())
    assert upload.n_ratings == int(mine.sum())


def test_cold_prediction_does_not_depend_on_the_order_or_company_of_the_pairs() -> None:
    model = pretraining(torch.float32).model()
    vectors = torch.randn(40, 33, generator=torch.Generator().manual_seed(1))
    predict = cold_predictor(lambda users: vectors[users], model)
    users, items = RATINGS.users, RATINGS.items
    together = predict(users, items)
    backwards = predict(users[::-1], items[::-1])[::-1]
    torch.testing.assert_close(torch.from_numpy(backwards.copy()), torch.from_numpy(together))
    for i in (0, 17, 101):
        alone = predict(users[i : i + 1], items[i : i + 1])
        assert alone[0] == pytest.approx(together[i], abs=1e-5)
