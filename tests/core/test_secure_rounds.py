"""Secure rounds train as open ones do, with user vectors on their devices and sums alone sent."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from safetensors.torch import load
from torch import Tensor

from metaem_core.federated.bytes import exchanged
from metaem_core.federated.encoding import SUM, BadMessage, contract_of, digest, encode
from metaem_core.federated.remote.mapping import MappingDevice, SumMappingServer, theta_message
from metaem_core.federated.rounds import RoundStats
from metaem_core.federated.secure import coding
from metaem_core.federated.secure.aggregation import OutOfTurn
from metaem_core.federated.secure.coding import LIMIT, Closing, Coding, Totals, from_words
from metaem_core.federated.secure.device import SecureClient, degree_of
from metaem_core.federated.secure.messages import closing_message
from metaem_core.federated.secure.pretraining import (
    PretrainDevice,
    SecureServer,
    broadcast,
    shapes_of,
)
from metaem_core.federated.secure.primitives import TooFewDevices
from metaem_core.federated.secure.server import secure_round
from metaem_core.federated.server import MappingServer
from metaem_core.methods.metaem.mapping import MappingTraining
from metaem_core.methods.metaem.pretraining import Pretraining
from metaem_core.privacy.attacks.reconstruction import auc
from metaem_core.training.optimizers import RowNewton
from tests.core.test_federated import RATINGS, pretraining
from tests.core.test_mapping import stage
from tests.support.secure_loop import SecureLoop

EVERYONE = pretraining(torch.float32).training.users.tolist()
COHORTS = [EVERYONE[:16], EVERYONE[10:30], EVERYONE[:16]]


def secured(stage: Pretraining) -> SecureLoop:
    """The same start, with every user vector on its device."""
    server, model = stage.training.rounds.server, stage._model
    assert isinstance(server.users, RowNewton)
    assert isinstance(server.items, RowNewton)
    held = stage.training.rounds.backend.devices
    users = {
        user: PretrainDevice(user, model, server.users, *held.of_device(user))
        for user in stage.training.users.tolist()
    }
    return SecureLoop(SecureServer(model, server.items, server.nets, server.users), users)


def open_round(stage: Pretraining | MappingTraining, cohort: list[int]) -> RoundStats:
    return stage.training.rounds.round(torch.tensor(cohort))


def moved_alike(ours: Tensor, theirs: Tensor, before: Tensor) -> bool:
    """Adam's steps are long where gradients are tiny, so their direction is compared."""
    moved = (ours - before).flatten(), (theirs - before).flatten()
    return bool(torch.cosine_similarity(*moved, dim=0) > 0.999)


def mild(dtype: torch.dtype = torch.float64, **options: object) -> Pretraining:
    return pretraining(dtype, **{"init_std": 0.1, **options})


@pytest.mark.parametrize("options", [{}, {"meta_reads_raw": True, "base": "gmf"}])
def test_secure_training_is_open_training(options: dict[str, object]) -> None:
    public, secret = mild(**options), mild(**options)
    loop = secured(secret)
    start = {name: tensor.clone() for name, tensor in loop.server.model.tensors().items()}
    for cohort in COHORTS:
        seen, summed = open_round(public, cohort), loop.round(cohort)
        assert summed.n_ratings == seen.n_ratings
        assert summed.squared_error == pytest.approx(seen.squared_error, rel=1e-5)
    theirs, ours = public._model, loop.server.model
    for user in EVERYONE[:30]:
        assert torch.allclose(loop.users[user].vector[0], theirs.user_embeddings[user], atol=1e-5)
    assert torch.allclose(ours.common_items, theirs.common_items, atol=1e-5)
    for name, tensor in theirs.tensors().items():
        assert moved_alike(ours.tensors()[name], tensor, start[name]), name
    there = EVERYONE[0]  # what the server began with is not what the device has now
    assert not torch.allclose(secret._model.user_embeddings[there], loop.users[there].vector[0])


def test_who_leaves_is_not_in_the_sum_and_who_leaves_last_does_not_move() -> None:
    public, secret = mild(), mild()
    loop, cohort = secured(secret), COHORTS[1]
    leavers = dict(zip(cohort, (1, 2, 3, 4, 5), strict=False))
    stayed = [user for user in cohort if leavers.get(user, 6) > 3]
    before = {user: loop.users[user].vector.clone() for user in cohort}
    seen = open_round(public, stayed)
    assert loop.round(cohort, leavers).n_ratings == seen.n_ratings
    assert torch.allclose(loop.server.model.common_items, public._model.common_items, atol=1e-5)
    moved = {user for user in cohort if not torch.equal(before[user], loop.users[user].vector)}
    assert moved == set(cohort) - leavers.keys()


@pytest.mark.parametrize(
    ("leaving", "least", "words"), [(14, 0, "sent a vector"), (1, 16, "at least 16 must")]
)
def test_too_many_leavers_leave_everything_as_it_was(leaving: int, least: int, words: str) -> None:
    """For the devices that are left, or for the server, which sets ``least``."""
    loop, cohort = secured(mild()), COHORTS[0]
    before = [tensor.clone() for tensor in broadcast(loop.server.model).values()]
    vectors = {user: held.vector.clone() for user, held in loop.users.items()}
    with pytest.raises(TooFewDevices, match=words):
        loop.round(cohort, dict.fromkeys(cohort[-leaving:], 3), least)
    for tensor, old in zip(broadcast(loop.server.model).values(), before, strict=True):
        assert torch.equal(tensor, old)
    assert all(torch.equal(loop.users[user].vector, old) for user, old in vectors.items())
    assert loop.round(cohort, {cohort[0]: 3}, 15).n_ratings > 0


def test_a_masked_upload_reveals_no_item() -> None:
    loop = secured(mild())
    areas = []
    for cohort in COHORTS:
        loop.round(cohort)
        shape = loop.server.model.common_items.shape
        for user, words in loop.vectors.items():
            rows = from_words(words[: shape.numel()]).reshape(shape)
            own = RATINGS.items[RATINGS.users == user]
            areas.append(auc((rows**2).sum(1), own))
    spread = np.std(areas) / len(areas) ** 0.5
    assert abs(np.mean(areas) - 0.5) < 4 * spread


def test_a_device_answers_once_and_only_to_the_rounds_model() -> None:
    loop = secured(mild())
    model = loop.server.model
    form = contract_of(broadcast(model))
    client = SecureClient(loop.users[EVERYONE[0]], 0, Coding(shapes_of(model), 16), 8)
    with pytest.raises(BadMessage, match="announced"):
        client.masked(encode({}), encode(broadcast(model)), form)
    for wrong in (
        {**broadcast(model), "common_items": model.common_items[:-1]},
        {**broadcast(model), "common_items": model.common_items / 0},
        {**broadcast(model), "extra": torch.zeros(1)},
    ):
        client.secrets.agreed = digest(digest(encode(wrong)))
        with pytest.raises(BadMessage, match="common_items"):
            client.masked(encode({}), encode(wrong), form)
    client.secrets.agreed = digest(digest(encode(broadcast(model))))
    nobody = {"places": torch.zeros(0, dtype=torch.long), "bytes": torch.zeros(0, 82).byte()}
    with pytest.raises(OutOfTurn):  # it has shared no secrets yet
        client.masked(encode(nobody), encode(broadcast(model)), form)
    with pytest.raises(BadMessage, match="sent nothing"):  # though it has computed a gradient
        client.close(closing_message(Closing(1, 1.0)))
    with pytest.raises(ValueError, match="took no part"):
        loop.users[EVERYONE[1]].close(Closing(1, 1.0))


@dataclass
class ForkingServer:
    """A server's reach that sends place 0 a model of its own, under that model's digest.

    ``isolating``: it passes no shares on between place 0 and the others.
    """

    clients: Mapping[int, SecureClient]
    own: bytes
    isolating: bool

    def ask(self, phase: int, messages: Mapping[int, Sequence[bytes]]) -> dict[int, bytes]:
        answers = {}
        for place, sent in messages.items():
            with suppress(BadMessage, TooFewDevices):
                form = contract_of(load(self.own[SUM:]))
                request = self._forged(phase, place, sent)
                answers[place] = self.clients[place].answer(phase, request, form)
        if phase == 3:
            self.vectors = answers.keys()
        return answers

    def _forged(self, phase: int, place: int, sent: Sequence[bytes]) -> Sequence[bytes]:
        if phase == 3 and self.isolating:
            shares = load(sent[0][SUM:])
            kept = (shares["places"] != 0) & (place != 0)
            sent = encode({name: part[kept] for name, part in shares.items()}), sent[1]
        if place or phase not in (2, 3):
            return sent
        return sent[0], self.own if phase == 3 else digest(self.own)


@pytest.mark.parametrize("isolating", [False, True])
def test_a_device_that_is_sent_a_model_of_its_own_sends_nothing_back(isolating: bool) -> None:
    loop, cohort = secured(mild()), COHORTS[0]
    sent = loop.server.broadcast()
    coding, near = Coding(loop.server.shapes, len(cohort)), degree_of(len(cohort))
    reach = ForkingServer(
        {place: SecureClient(loop.users[u], place, coding, near) for place, u in enumerate(cohort)},
        encode({**sent, "common_items": sent["common_items"] + 1}),
        isolating,
    )
    with pytest.raises(TooFewDevices):
        secure_round(loop.server, reach.ask, len(cohort))
    assert 0 not in reach.vectors


@given(st.lists(st.floats(-LIMIT, LIMIT), min_size=6, max_size=6), st.integers(1, 40))
def test_sums_come_back_within_the_unit(numbers: list[float], devices: int) -> None:
    coding = Coding((torch.Size([2, 2]), torch.Size([2])), devices)
    values = torch.tensor(numbers, dtype=torch.float64)
    parts, totals = [values[:4].view(2, 2), values[4:]], Totals(123.25, 7, 1e9)
    words = [coding.encode(parts, totals, np.random.default_rng(i)) for i in range(devices)]
    assert all(len(each) == coding.words for each in words)
    decoded, sums = coding.decode(np.sum(words, axis=0, dtype=np.uint32))
    for part, given_ in zip(decoded, parts, strict=True):
        assert torch.allclose(part, devices * given_, rtol=0, atol=devices * coding.unit)
    assert sums == pytest.approx([devices * total for total in totals])


def test_a_gradient_beyond_the_limit_shrinks_as_a_whole() -> None:
    stage = mild()
    loop, model = secured(stage), broadcast(stage._model)
    plain, _ = loop.users[EVERYONE[2]].contribution(model)
    loud = {**model, "item_offsets": model["item_offsets"] + 1e5}
    shrunk, _ = loop.users[EVERYONE[2]].contribution(loud)
    assert max(float(part.abs().max()) for part in shrunk) == pytest.approx(LIMIT)
    assert max(float(part.abs().max()) for part in plain) < LIMIT


def test_counted_bytes_are_those_of_a_round() -> None:
    stage = mild(torch.float32, payload="secure")
    loop = secured(stage)
    loop.round(COHORTS[0])
    config = replace(stage.config, cohort_size=16)
    assert set(loop.traffic) == {exchanged("secure", RATINGS.n_items, config)}


def test_secure_mapping_is_open_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every device with a source vector of its own, at a server that has none."""
    monkeypatch.setattr(coding, "LIMIT", 4096.0)  # this world's gradients are long
    public, _, model = stage("task")
    secret, _, _ = stage("task")
    server, backend = secret.training.rounds.server, public.training.rounds.backend
    assert isinstance(server, MappingServer)
    start, network = server.start, tuple(part.detach() for part in server.network)
    before = [part.clone() for part in network]
    none = replace(
        model, user_embeddings=model.user_embeddings[:0], user_profiles=model.user_profiles[:0]
    )
    users = {
        user: MappingDevice(server.sources[[user]], none, *backend.devices.of_device(user))
        for user in secret.training.users.tolist()
    }
    loop = SecureLoop(
        SumMappingServer(start, network, none, server.nets), users, limit=coding.LIMIT
    )
    for cohort in ([1, 5, 8, 20, 33], [5, 8, 20, 41, 50], [1, 5, 8, 20, 33]):
        seen, summed = open_round(public, cohort), loop.round(cohort)
        assert summed.squared_error == pytest.approx(seen.squared_error, rel=1e-5)
    for ours, theirs, was in zip(network, public.network, before, strict=True):
        assert moved_alike(ours, theirs, was)
    assert not hasattr(loop.server, "sources")


def test_an_open_gradient_of_theta_reveals_the_source_vector() -> None:
    """Row by row that of the first layer is what that of its constants is, times the input."""
    work, _, model = stage("task")
    server, backend = work.training.rounds.server, work.training.rounds.backend
    assert isinstance(server, MappingServer)
    source = server.sources[[20]]
    device = MappingDevice(source, model, *backend.devices.of_device(20))
    sent = theta_message(server.start, server.network, model)
    (weight, constants, *_), _ = device.contribution(sent)
    unit = constants.abs().argmax()
    centre, scale, *_ = server.start
    torch.testing.assert_close(weight[unit] / constants[unit] / scale + centre, source[0])
