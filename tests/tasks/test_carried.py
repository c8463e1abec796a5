"""Mapping over a link: devices carry their vectors, and the target's server never has one."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, load_file
from torch import Tensor

from metaem_core.config.mapping import MappingConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.bias import fitted_biases
from metaem_core.data.pair import DomainPair, Queries
from metaem_core.data.ratings import Ratings
from metaem_core.federated.encoding import SUM, BadMessage, encode
from metaem_core.federated.remote import mapping as carried_module
from metaem_core.federated.remote.collection import RoundVoid
from metaem_core.federated.remote.exchange import Answer
from metaem_core.federated.remote.mapping import MappingDevice, theta_message
from metaem_core.federated.remote.secure_rounds import PhaseMessage, RoundSpoilt
from metaem_core.federated.secure import coding
from metaem_core.federated.secure.aggregation import OutOfTurn
from metaem_core.methods.metaem.mapping import MappingTraining
from metaem_core.methods.metaem.mapping_start import directions_of, source_view, target_view
from metaem_core.methods.metaem.pretraining import Pretraining
from metaem_core.models.metaem import DomainModel
from tasks.flower.job import Job, mapping_start, vectors_tag, views_start
from tasks.flower.node import DeviceFolder, Node, Request
from tests.support.worlds import random_ratings
from tests.tasks.test_remote import Devices, Spoil, about

USERS = 40
MOVIE = random_ratings(USERS, 50, 9, seed=5)
MUSIC = random_ratings(USERS, 60, 9, seed=3)  # its user number k is the movies' number 39 - k
OTHER = {user: USERS - 1 - user for user in range(USERS)}
STOP = np.array([4, 10, 16])  # music's validation users
TRAIN = np.array([5, 7, 8, 11, 13, 14, 17, 20, 23, 25, 26, 28, 29, 31])
PRETRAIN = PretrainConfig(hidden_size=16, epochs=1, cohort_size=16)
CONFIG = MappingConfig(hidden_size=16, cohort_size=14, epochs=3, learning_rates=(1e-3, 1e-2))


@dataclass(frozen=True)
class World:
    """Two pretrained domains, and what the mapping stage has of them."""

    vectors: Tensor
    target: DomainModel
    pair: DomainPair
    tried: list[MappingTraining]

    def start(self) -> dict[str, Tensor]:
        return mapping_start(self.tried[0], torch.from_numpy(TRAIN), torch.from_numpy(STOP))


def trained(ratings: Ratings, config: PretrainConfig) -> Pretraining:
    stage = Pretraining(config, ratings)
    for _ in stage.training.epochs(lambda stats: None):
        pass
    return stage


def world(config: MappingConfig = CONFIG, pretrain: PretrainConfig = PRETRAIN) -> World:
    kept = MUSIC.of_users(~np.isin(np.arange(USERS), STOP))
    source, target = trained(MOVIE, pretrain).model(), trained(kept, pretrain).model()
    with torch.no_grad():
        vectors = source.source_vectors(torch.arange(USERS))
    pair = DomainPair(MOVIE, kept, np.array([OTHER[u] for u in TRAIN.tolist()]), TRAIN)
    asked = MUSIC.of_users(np.isin(np.arange(USERS), STOP))
    queries = Queries(USERS - 1 - asked.users, asked.items, asked.values)
    rates = config.learning_rates
    tried = [MappingTraining(config, rate, vectors, target, pair, queries) for rate in rates]
    return World(vectors, target, pair, tried)


def asked_of(
    tag: str, config: MappingConfig = CONFIG, pretrain: PretrainConfig = PRETRAIN
) -> Request:
    plain = json.dumps({"pretrain": asdict(pretrain), "mapping": asdict(config)})
    return Request(kind="mapping", domain="music", config=plain, source="movie", tag=tag)


def asked_to_keep(tag: str, pretrain: PretrainConfig = PRETRAIN) -> Request:
    config = json.dumps(asdict(pretrain))
    return Request(kind="keep", domain="movie", config=config, source="", tag=tag)


def carried(folder: Path, found: World, pretrain: PretrainConfig = PRETRAIN) -> None:
    """Deal out both domains, and let the source leave its vectors on the devices."""
    node = Node(folder / "node")
    node.domain("movie").assign(MOVIE, range(USERS))
    node.domain("music").assign(MUSIC, range(USERS))
    node.link([{"movie": OTHER[user], "music": user} for user in range(USERS)])
    asked = asked_to_keep(vectors_tag(found.vectors), pretrain)
    job = Job.create(folder / "carry", about(asked, 1.0), {"profiles": found.vectors})
    devices = node.domain("movie").devices()
    job.work(Devices(folder, asked=asked), devices)
    assert job.done is not None
    assert (job.done["devices"], job.done["refused"]) == (len(devices), [])


def mapped(
    folder: Path, found: World, asked: Request, spoil: Spoil = lambda answer: [answer]
) -> Job:
    job = Job.create(folder / "job", about(asked, 0.8), found.start())
    job.work(Devices(folder, spoil, asked), range(USERS))
    return job


@pytest.mark.parametrize(
    "pretrain",
    [
        PRETRAIN,
        replace(PRETRAIN, centred=False, relu_last=True, meta_reads_raw=True, tables="lazy"),
    ],
)
def test_devices_that_carry_their_vectors_train_what_the_simulation_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pretrain: PretrainConfig
) -> None:
    """Up to the unit of what is added under masks, of which Adam's steps make the most."""
    for module in (coding, carried_module):
        monkeypatch.setattr(module, "LIMIT", 4096.0)  # this world's gradients are long
    simulated, remote = world(pretrain=pretrain), world(pretrain=pretrain)
    carried(tmp_path, remote, pretrain)
    job = mapped(tmp_path, remote, asked_of(vectors_tag(remote.vectors), pretrain=pretrain))
    assert job.done is not None
    assert (job.done["devices"], job.done["refused"]) == (len(TRAIN), [])
    job.load_into(*(each.training for each in remote.tried))
    fresh = world(pretrain=pretrain).tried[0].network
    for ours, theirs in zip(remote.tried, simulated.tried, strict=True):
        for _ in theirs.training.epochs(lambda stats: None):
            pass
        moved = [
            torch.cat(
                [(now - then).flatten() for now, then in zip(each.network, fresh, strict=True)]
            )
            for each in (ours, theirs)
        ]
        assert float(moved[1].norm()) > 1e-2
        assert torch.cosine_similarity(*moved, dim=0) > 0.99
        found = [each.training.curve() for each in (ours, theirs)]
        for mine, other in zip(*found, strict=True):
            assert mine.loss == pytest.approx(other.loss, rel=1e-3)
            assert mine.validation_rmse == pytest.approx(other.validation_rmse, rel=1e-3)
            assert mine.n_ratings == other.n_ratings


def started(
    folder: Path,
    found: World,
    spoil: Spoil = lambda answer: [answer],
    kind: type[Devices] = Devices,
) -> Job:
    """Theta's start, found over a link."""
    asked = asked_of(vectors_tag(found.vectors)) | {"kind": "start"}
    biases, raters = fitted_biases(found.pair.target), np.unique(MOVIE.users)
    views = (
        source_view(found.vectors, raters, directions_of(found.target)),
        target_view(found.target, biases, found.pair),
    )
    start = views_start(*views, torch.from_numpy(TRAIN))
    job = Job.create(folder / "start", about(asked, 0.8), start)
    job.work(kind(folder, spoil, asked), range(USERS))
    return job


def heard(seen: list[bytes]) -> Spoil:
    """Every answer as it is, noted in ``seen``."""

    def listen(answer: Answer) -> Iterable[Answer]:
        seen.append(answer.message)
        return [answer]

    return listen


def test_devices_sums_give_the_start_of_the_simulation(tmp_path: Path) -> None:
    found = world()
    carried(tmp_path, found)
    seen: list[bytes] = []
    job = started(tmp_path, found, heard(seen))
    assert job.done is not None
    assert (job.done["devices"], job.done["refused"]) == (len(TRAIN), [])
    assert len(seen) == 2 * 5 * len(TRAIN)  # two sums of five phases
    weight = found.tried[0].start[2]
    assert bool((weight[:, :32] != 0).any())  # taste
    assert bool((weight[:, 32:] != 0).any())  # the user profile
    for ours, theirs in zip(job.start(), found.tried[0].start, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    for user in TRAIN.tolist():
        assert found.vectors[OTHER[user]][:4].numpy().tobytes() not in b"".join(seen)


def test_a_device_that_answers_nonsense_is_left_out(tmp_path: Path) -> None:
    found = world()
    carried(tmp_path, found)

    def babble(answer: Answer) -> Iterable[Answer]:
        return [answer._replace(message=b"?")] if answer.device == 5 else [answer, answer]

    whole = found.tried[0].start
    for ours, theirs in zip(started(tmp_path, found, babble).start(), whole, strict=True):
        assert bool(ours.isfinite().all())
        assert ours.shape == theirs.shape


def test_a_device_answers_each_phase_once_whoever_asks_again(tmp_path: Path) -> None:
    """Else a server could have both secrets of a neighbour, and its vector."""
    found = world()
    carried(tmp_path, found)
    asked = asked_of(vectors_tag(found.vectors)) | {"kind": "start"}
    messages: dict[int, bytes] = {}
    train = Devices.train

    def listen(self: Devices, number: int, sent: Mapping[int, bytes]) -> Iterable[Answer]:
        messages[number] = sent.get(5, b"")
        return train(self, number, sent)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Devices, "train", listen)
        started(tmp_path, found)
    node = Node(tmp_path / "node")
    for phase in (2, 3, 4):  # of the second sum
        with pytest.raises((OutOfTurn, BadMessage)):
            node.train(asked, 5, messages[5 + phase])
    kept = load_file(next((tmp_path / "node").rglob("rounds/5.safetensors")))
    assert kept.keys() == {"bound"}  # no secret is left
    node.train(asked, 5, messages[6])  # new keys, a new round
    with pytest.raises((OutOfTurn, BadMessage)):  # and nothing of an old one
        node.train(asked, 5, messages[8])


def test_a_device_holds_the_server_to_the_size_of_the_round(tmp_path: Path) -> None:
    """Else it could lower the number of neighbours that must be there, and open one vector."""
    found = world()
    carried(tmp_path, found)
    asked = asked_of(vectors_tag(found.vectors)) | {"kind": "start"}
    node = Node(tmp_path / "node")
    first = PhaseMessage(1, 1, 0, 14, 9.0, ())
    node.train(asked, 5, first.encoded())
    second = replace(first, phase=2, messages=(b"", b""))
    for other in ({"size": 3}, {"place": 1}, {"sum": 2}, {"limit": 1.0}):
        with pytest.raises(BadMessage, match="a phase of another round"):
            node.train(asked, 5, replace(second, **other).encoded())  # type: ignore[arg-type]
    for wrong in ({"size": 2}, {"place": 14}, {"phase": 6}, {"phase": 0}):
        with pytest.raises(BadMessage, match="no phase"):
            node.train(asked, 5, replace(first, **wrong).encoded())  # type: ignore[arg-type]


class Damaged(Devices):
    """The model that device 5 is sent is not the one that was announced to it."""

    def train(self, number: int, messages: Mapping[int, bytes]) -> Iterable[Answer]:
        sent = {device: self.changed(device, data) for device, data in messages.items()}
        return super().train(number, sent)

    def changed(self, device: int, data: bytes) -> bytes:
        told = PhaseMessage.decoded(data)
        if device != 5 or told.phase != 3:
            return data
        shares, model = told.messages
        parts = load(model[SUM:])
        other = encode({**parts, "target.items": parts["target.items"] + 1})
        return replace(told, messages=(shares, other)).encoded()


class SingledOut(Damaged):
    """All but device 5 are told a unit so large that nothing they add can be seen."""

    def changed(self, device: int, data: bytes) -> bytes:
        told = PhaseMessage.decoded(data)
        return data if device == 5 else replace(told, limit=told.limit * 1e6).encoded()


def test_a_device_that_is_sent_another_model_is_left_out(tmp_path: Path) -> None:
    found = world()
    carried(tmp_path, found)
    heard_of: list[tuple[int, int]] = []

    def listen(answer: Answer) -> Iterable[Answer]:
        heard_of.append((answer.round, answer.device))
        return [answer]

    job = started(tmp_path, found, listen, Damaged)
    assert job.done is not None
    assert {device for number, device in heard_of if number == 3} == {*TRAIN.tolist()} - {5}
    assert all(bool(part.isfinite().all()) for part in job.start())


def test_devices_that_are_told_different_units_make_no_sum(tmp_path: Path) -> None:
    """Else the sum would be of the one that is told another than the rest."""
    found = world()
    carried(tmp_path, found)
    with pytest.raises(RoundSpoilt, match="a round of 14 devices"):
        started(tmp_path, found, kind=SingledOut)


@pytest.mark.parametrize("wrong", [{"tag": ".."}, {"tag": "/"}, {"domain": ".."}, {"domain": "/a"}])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, wrong: dict[str, str]) -> None:
    found = world()
    carried(tmp_path, found)
    asked = {**asked_to_keep(vectors_tag(found.vectors)), **wrong}
    before = {path: path.read_bytes() for path in (tmp_path / "node").rglob("*.safetensors")}
    with pytest.raises(BadMessage, match="called"):
        Node(tmp_path / "node").train(asked, 5, encode({"profile": found.vectors[:1]}))  # type: ignore[arg-type]
    assert before == {p: p.read_bytes() for p in (tmp_path / "node").rglob("*.safetensors")}


@pytest.mark.parametrize("phase", [1, 2, 3, 4])
def test_a_well_formed_lie_of_one_device_ends_no_job(tmp_path: Path, phase: int) -> None:
    found = world()
    carried(tmp_path, found)

    def lie(answer: Answer) -> Iterable[Answer]:
        if answer.device != 5 or answer.round != phase:
            return [answer]
        told = load(answer.message[SUM:])
        false = {name: torch.zeros_like(part) for name, part in told.items()}
        if phase == 2:
            false = {name: part[:0] for name, part in told.items()}
        return [answer._replace(message=encode(false))]

    job = started(tmp_path, found, lie)
    assert job.done is not None
    assert all(bool(part.isfinite().all()) for part in job.start())


def test_work_that_is_done_is_known_again(tmp_path: Path) -> None:
    found = world()
    carried(tmp_path, found)
    job = started(tmp_path, found)
    asked, start = job.spec["request"], load_file(job.folder / "start.safetensors")
    assert job.is_done(asked, start)
    assert not job.is_done({**asked, "tag": "0" * 32}, start)
    assert not job.is_done(asked, {**start, "train": start["train"][1:]})


def test_the_targets_server_is_given_nothing_of_a_source_user(tmp_path: Path) -> None:
    """Neither in the job's folder nor in any message: searched for, bit by bit."""
    found = world()
    carried(tmp_path, found)
    seen: list[bytes] = []
    job = mapped(tmp_path, found, asked_of(vectors_tag(found.vectors)), heard(seen))
    wire = b"".join(seen)
    assert all("network.0" not in load(answer[SUM:]) for answer in seen if answer)
    files = b"".join(p.read_bytes() for p in job.folder.rglob("*") if p.is_file())
    assert len(seen) == 2 * CONFIG.epochs * 5 * len(TRAIN)  # five phases a round
    for user in TRAIN.tolist():
        own = found.vectors[OTHER[user]]
        for part in (own[:4], own[-4:]):
            needle = part.numpy().tobytes()
            assert needle not in wire
            assert needle not in files
    carried_files = [p.read_bytes() for p in (tmp_path / "node").rglob("profiles/*/*")]
    assert any(found.vectors[OTHER[5]][:4].numpy().tobytes() in data for data in carried_files)


def test_an_open_gradient_of_theta_would_tell_the_vector_it_was_made_with(tmp_path: Path) -> None:
    """Which is why it travels under masks alone."""
    found = world()
    carried(tmp_path, found)
    work = found.tried[0]
    draw = torch.Generator().manual_seed(1)
    network = tuple(part + torch.randn(part.shape, generator=draw) / 10 for part in work.network)
    device = MappingDevice(
        found.vectors[[OTHER[5]]], found.target, *DeviceFolder(tmp_path / "node" / "music").own(5)
    )
    (weight, constant, *_), _ = device.contribution(
        theta_message(work.start, network, found.target)
    )
    centre, scale = work.start[:2]
    unit = constant.abs().argmax()
    stolen = weight[unit] / constant[unit] / scale + centre
    torch.testing.assert_close(stolen, found.vectors[OTHER[5]], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("why", ["another training's vectors", "nobody else's device"])
def test_devices_without_the_right_vector_are_silent(tmp_path: Path, why: str) -> None:
    found = world()
    carried(tmp_path, found)
    if why == "another training's vectors":
        asked = asked_of(vectors_tag(found.vectors + 1))
    else:
        asked = asked_of(vectors_tag(found.vectors))
        Node(tmp_path / "node").link([])
    with pytest.raises(RoundVoid, match="0 of 3 devices sent their errors"):
        mapped(tmp_path, found, asked)


def test_an_interrupted_mapping_goes_on_from_its_last_epoch(tmp_path: Path) -> None:
    whole, again = world(), world()
    (tmp_path / "a").mkdir()
    carried(tmp_path / "a", whole)
    carried(tmp_path, again)
    asked = asked_of(vectors_tag(again.vectors))
    mapped(tmp_path / "a", whole, asked).load_into(*(each.training for each in whole.tried))
    phases = CONFIG.epochs * 5  # a cohort an epoch

    def die(answer: Answer) -> Iterable[Answer]:
        if answer.round == phases + 8:  # in the second epoch of the second learning rate
            raise KeyboardInterrupt
        return [answer]

    with pytest.raises(KeyboardInterrupt):
        mapped(tmp_path, again, asked, die)
    late: list[int] = []

    def note(answer: Answer) -> Iterable[Answer]:
        late.append(answer.round)
        return [answer]

    mapped(tmp_path, again, asked, note).load_into(*(each.training for each in again.tried))
    assert min(late) == phases + 6  # the second epoch begins again
    for ours, theirs in zip(again.tried, whole.tried, strict=True):
        for mine, other in zip(ours.training.curve(), theirs.training.curve(), strict=True):
            assert mine.loss == pytest.approx(other.loss, rel=1e-2)


def test_a_learning_rate_that_diverges_is_left_out(tmp_path: Path) -> None:
    config = replace(CONFIG, learning_rates=(1e-3, 1e30))
    found = world(config)
    carried(tmp_path, found)
    job = mapped(tmp_path, found, asked_of(vectors_tag(found.vectors), config))
    assert job.done is not None
    assert job.done["epochs"] == [3, None]
    job.load_into(*(each.training for each in found.tried))
    assert found.tried[0].training.best_rmse < 10


def test_without_devices_of_a_role_it_is_said_which(tmp_path: Path) -> None:
    found = world()
    carried(tmp_path, found)
    asked = asked_of(vectors_tag(found.vectors))
    job = Job.create(tmp_path / "job", about(asked, 0.8), found.start())
    with pytest.raises(ValueError, match="0 devices within reach validate the mapping, it takes 1"):
        job.work(Devices(tmp_path, asked=asked), TRAIN.tolist())
