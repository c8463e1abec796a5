"""Mapping over a link: devices keep their vectors, and the target's server never has one."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
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
from metaem_core.federated.encoding import SUM, BadMessage, encode
from metaem_core.federated.remote import mapping as remote_module
from metaem_core.federated.remote.collection import RoundVoid
from metaem_core.federated.remote.exchange import Answer
from metaem_core.federated.remote.secure_rounds import PhaseMessage, RoundSpoilt
from metaem_core.federated.secure import coding
from metaem_core.federated.secure.aggregation import OutOfTurn
from metaem_core.methods.metaem.mapping import MappingTraining
from metaem_core.methods.metaem.mapping_start import directions_of, source_view, target_view
from metaem_core.models.metaem import DomainModel
from tasks.flower.job import Job
from tasks.flower.node import Node
from tasks.flower.request import Configs, Request, vectors_tag
from tasks.flower.star_job import mapping_start, views_start
from tests.support.worlds import random_ratings
from tests.tasks.test_remote import Devices, Spoil, about, finish, honest, simulated

USERS = 40
MOVIE = random_ratings(USERS, 50, 9, seed=5)
MUSIC = random_ratings(USERS, 60, 9, seed=3)  # its user number k is the movies' number 39 - k
OTHER = {user: USERS - 1 - user for user in range(USERS)}
STOP = np.array([4, 10, 16])  # music's validation users
TRAIN = np.array([5, 7, 8, 11, 13, 14, 17, 20, 23, 25, 26, 28, 29, 31])
PRETRAIN = PretrainConfig(hidden_size=16, epochs=1, cohort_size=16)
CONFIG = MappingConfig(hidden_size=16, cohort_size=14, epochs=2, learning_rates=(1e-3, 1e-2))


@dataclass(frozen=True)
class World:
    """Two pretrained domains, and what the mapping stage has of them."""

    vectors: Tensor
    target: DomainModel
    pair: DomainPair
    tried: list[MappingTraining]

    def start(self) -> dict[str, Tensor]:
        return mapping_start(self.tried[0], torch.from_numpy(TRAIN), torch.from_numpy(STOP))

    def request(
        self,
        kind: str = "mapping",
        config: MappingConfig = CONFIG,
        pretrain: PretrainConfig = PRETRAIN,
    ) -> Request:
        plain = Configs(pretrain, config).encoded()
        tag = vectors_tag(self.vectors)
        return Request(kind=kind, domain="music", config=plain, source="movie", tag=tag)

    def request_to_keep(self, pretrain: PretrainConfig = PRETRAIN) -> Request:
        config, tag = Configs(pretrain).encoded(), vectors_tag(self.vectors)
        return Request(kind="keep", domain="movie", config=config, source="", tag=tag)


def world(config: MappingConfig = CONFIG, pretrain: PretrainConfig = PRETRAIN) -> World:
    kept = MUSIC.of_users(~np.isin(np.arange(USERS), STOP))
    source, target = (simulated(pretrain, ratings).model() for ratings in (MOVIE, kept))
    with torch.no_grad():
        vectors = source.source_vectors(torch.arange(USERS))
    pair = DomainPair(MOVIE, kept, np.array([OTHER[u] for u in TRAIN.tolist()]), TRAIN)
    held = MUSIC.of_users(np.isin(np.arange(USERS), STOP))
    queries = Queries(USERS - 1 - held.users, held.items, held.values)
    rates = config.learning_rates
    tried = [MappingTraining(config, rate, vectors, target, pair, queries) for rate in rates]
    return World(vectors, target, pair, tried)


def transferred(folder: Path, planted: World, pretrain: PretrainConfig = PRETRAIN) -> None:
    """Assign both domains, and let the source leave its vectors on the devices."""
    node = Node(folder / "node")
    node.domain("movie").assign(MOVIE, range(USERS))
    node.domain("music").assign(MUSIC, range(USERS))
    node.link([{"movie": OTHER[user], "music": user} for user in range(USERS)])
    request = planted.request_to_keep(pretrain)
    job = Job.create(folder / "transfer", about(request, 1.0), {"profiles": planted.vectors})
    devices = node.domain("movie").devices()
    job.work(Devices(folder, request=request), devices)
    assert (job.result["devices"], job.result["refused"]) == (len(devices), [])


@pytest.fixture
def linked(tmp_path: Path) -> World:
    """A world whose devices hold their source vectors."""
    planted = world()
    transferred(tmp_path, planted)
    return planted


def mapped(folder: Path, planted: World, request: Request, spoil: Spoil = honest) -> Job:
    job = Job.create(folder / "job", about(request, 0.8), planted.start())
    job.work(Devices(folder, spoil, request), range(USERS))
    return job


@pytest.mark.parametrize(
    "pretrain",
    [
        PRETRAIN,
        replace(PRETRAIN, centred=False, relu_last=True, meta_reads_raw=True, tables="lazy"),
    ],
)
def test_devices_that_keep_their_vectors_train_what_the_simulation_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pretrain: PretrainConfig
) -> None:
    """Up to the unit of what is added under masks, of which Adam's steps make the most."""
    for module in (coding, remote_module):
        monkeypatch.setattr(module, "LIMIT", 4096.0)  # this world's gradients are long
    local, remote = world(pretrain=pretrain), world(pretrain=pretrain)
    transferred(tmp_path, remote, pretrain)
    job = mapped(tmp_path, remote, remote.request(pretrain=pretrain))
    assert (job.result["devices"], job.result["refused"]) == (len(TRAIN), [])
    job.load_into(*(each.training for each in remote.tried))
    fresh = world(pretrain=pretrain).tried[0].network
    for ours, theirs in zip(remote.tried, local.tried, strict=True):
        finish(theirs.training)
        moved = [
            torch.cat(
                [(now - then).flatten() for now, then in zip(each.network, fresh, strict=True)]
            )
            for each in (ours, theirs)
        ]
        assert float(moved[1].norm()) > 1e-2
        assert torch.cosine_similarity(*moved, dim=0) > 0.99
        for mine, other in zip(ours.training.curve(), theirs.training.curve(), strict=True):
            assert mine.loss == pytest.approx(other.loss, rel=1e-3)
            assert mine.validation_rmse == pytest.approx(other.validation_rmse, rel=1e-3)
            assert mine.n_ratings == other.n_ratings


def started(
    folder: Path,
    linked: World,
    spoil: Spoil = honest,
    kind: type[Devices] = Devices,
) -> Job:
    """Theta's start, linked over a link."""
    request = linked.request("start")
    biases = fitted_biases(linked.pair.target)
    views = (
        source_view(linked.vectors, MOVIE, directions_of(linked.target)),
        target_view(linked.target, biases, linked.pair),
    )
    start = views_start(*views, torch.from_numpy(TRAIN))
    job = Job.create(folder / "start", about(request, 0.8), start)
    job.work(kind(folder, spoil, request), range(USERS))
    return job


def noted(answers: list[Answer]) -> Spoil:
    """Every answer as it is, noted in ``answers``."""

    def listen(answer: Answer) -> Iterable[Answer]:
        answers.append(answer)
        return [answer]

    return listen


def test_devices_sums_give_the_start_of_the_simulation(tmp_path: Path, linked: World) -> None:
    answers: list[Answer] = []
    job = started(tmp_path, linked, noted(answers))
    assert (job.result["devices"], job.result["refused"]) == (len(TRAIN), [])
    assert len(answers) == 2 * 5 * len(TRAIN)  # two sums of five phases
    weight = linked.tried[0].start[2]
    assert bool((weight[:, :32] != 0).any())  # taste
    assert bool((weight[:, 32:] != 0).any())  # the user profile
    for ours, theirs in zip(job.start(), linked.tried[0].start, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    wire = b"".join(answer.message for answer in answers)
    for user in TRAIN.tolist():
        assert linked.vectors[OTHER[user]][:4].numpy().tobytes() not in wire


def test_a_device_answers_each_phase_once_whoever_asks_again(tmp_path: Path, linked: World) -> None:
    """Else a server could have both secrets of a neighbour, and its vector."""
    request = linked.request("start")
    messages = [b""]  # by round

    class Noting(Devices):
        def sent(self, device: int, data: bytes) -> bytes:
            messages.extend([data] if device == 5 else [])
            return data

    started(tmp_path, linked, kind=Noting)
    node = Node(tmp_path / "node")
    for phase in (2, 3, 4):  # of the second sum
        with pytest.raises((OutOfTurn, BadMessage)):
            node.train(request, 5, messages[5 + phase])
    kept = load_file(next((tmp_path / "node").rglob("rounds/*/5.safetensors")))
    assert kept.keys() == {"bound"}  # no secret is left
    node.train(request, 5, messages[6])  # new keys, a new round
    with pytest.raises((OutOfTurn, BadMessage)):  # and nothing of an old one
        node.train(request, 5, messages[8])


def test_a_device_holds_the_server_to_the_size_of_the_round(tmp_path: Path, linked: World) -> None:
    """Else it could lower the number of neighbours that must be there, and open one vector."""
    request = linked.request("start")
    node = Node(tmp_path / "node")
    first = PhaseMessage(1, 1, 0, 14, 9.0, ())
    node.train(request, 5, first.encoded())
    second = replace(first, phase=2, messages=(b"", b""))
    for other in ({"size": 3}, {"place": 1}, {"sum": 2}, {"limit": 1.0}):
        with pytest.raises(BadMessage, match="a phase of another round"):
            node.train(request, 5, replace(second, **other).encoded())  # type: ignore[arg-type]
    for wrong in ({"size": 2}, {"place": 14}, {"phase": 6}, {"phase": 0}):
        with pytest.raises(BadMessage, match="no phase"):
            node.train(request, 5, replace(first, **wrong).encoded())  # type: ignore[arg-type]


class Damaged(Devices):
    """The model that device 5 is sent is not the one that was announced to it."""

    def sent(self, device: int, data: bytes) -> bytes:
        message = PhaseMessage.decoded(data)
        if device != 5 or message.phase != 3:
            return data
        shares, model = message.messages
        parts = load(model[SUM:])
        other = encode({**parts, "target.items": parts["target.items"] + 1})
        return replace(message, messages=(shares, other)).encoded()


class SingledOut(Damaged):
    """All but device 5 are sent a unit so large that nothing they add can be seen."""

    def sent(self, device: int, data: bytes) -> bytes:
        message = PhaseMessage.decoded(data)
        return data if device == 5 else replace(message, limit=message.limit * 1e6).encoded()


def test_a_device_that_is_sent_another_model_is_left_out(tmp_path: Path, linked: World) -> None:
    answers: list[Answer] = []
    job = started(tmp_path, linked, noted(answers), Damaged)
    assert {each.device for each in answers if each.round == 3} == {*TRAIN.tolist()} - {5}
    assert all(bool(part.isfinite().all()) for part in job.start())


def test_devices_that_are_sent_different_units_make_no_sum(tmp_path: Path, linked: World) -> None:
    """Else the sum would be of the one that is sent another unit than the rest."""
    with pytest.raises(RoundSpoilt, match="a round of 14 devices"):
        started(tmp_path, linked, kind=SingledOut)


@pytest.mark.parametrize("wrong", [{"tag": ".."}, {"tag": "/"}, {"domain": ".."}, {"domain": "/a"}])
def test_names_that_lead_elsewhere_are_refused(
    tmp_path: Path, linked: World, wrong: dict[str, str]
) -> None:
    request = {**linked.request_to_keep(), **wrong}
    before = {path: path.read_bytes() for path in (tmp_path / "node").rglob("*.safetensors")}
    with pytest.raises(BadMessage, match="called"):
        Node(tmp_path / "node").train(request, 5, encode({"profile": linked.vectors[:1]}))  # type: ignore[arg-type]
    assert before == {p: p.read_bytes() for p in (tmp_path / "node").rglob("*.safetensors")}


@pytest.mark.parametrize("phase", [0, 1, 2, 3, 4], ids=lambda phase: f"phase {phase}")
def test_a_lie_of_one_device_ends_no_job(tmp_path: Path, linked: World, phase: int) -> None:
    """Well-formed in one phase, or (0) nonsense in all, while the others answer twice."""

    def lie(answer: Answer) -> Iterable[Answer]:
        if answer.device != 5:
            return [answer] if phase else [answer, answer]
        if phase == 0:
            return [answer._replace(message=b"?")]
        if answer.round != phase:
            return [answer]
        parts = load(answer.message[SUM:])
        false = {name: torch.zeros_like(part) for name, part in parts.items()}
        if phase == 2:
            false = {name: part[:0] for name, part in parts.items()}
        return [answer._replace(message=encode(false))]

    job = started(tmp_path, linked, lie)
    for ours, theirs in zip(job.start(), linked.tried[0].start, strict=True):
        assert bool(ours.isfinite().all())
        assert ours.shape == theirs.shape


def test_work_that_is_done_is_known_again(tmp_path: Path, linked: World) -> None:
    job = started(tmp_path, linked)
    request, start = job.spec["request"], load_file(job.folder / "start.safetensors")
    assert job.is_done(request, start)
    assert not job.is_done({**request, "tag": "0" * 32}, start)
    assert not job.is_done(request, {**start, "train": start["train"][1:]})


def test_the_targets_server_is_given_nothing_of_a_source_user(
    tmp_path: Path, linked: World
) -> None:
    """Neither in the job's folder nor in any message: searched for, bit by bit."""
    answers: list[Answer] = []
    job = mapped(tmp_path, linked, linked.request(), noted(answers))
    messages = [answer.message for answer in answers]
    wire = b"".join(messages)
    assert all("network.0" not in load(message[SUM:]) for message in messages if message)
    files = b"".join(p.read_bytes() for p in job.folder.rglob("*") if p.is_file())
    assert len(answers) == 2 * CONFIG.epochs * 5 * len(TRAIN)  # five phases a round
    for user in TRAIN.tolist():
        own = linked.vectors[OTHER[user]]
        for part in (own[:4], own[-4:]):
            needle = part.numpy().tobytes()
            assert needle not in wire
            assert needle not in files
    kept_files = [p.read_bytes() for p in (tmp_path / "node").rglob("profiles/*/*")]
    assert any(linked.vectors[OTHER[5]][:4].numpy().tobytes() in data for data in kept_files)


@pytest.mark.parametrize("why", ["another training's vectors", "nobody else's device"])
def test_devices_without_the_right_vector_are_silent(
    tmp_path: Path, linked: World, why: str
) -> None:
    request = linked.request()
    if why == "another training's vectors":
        request["tag"] = vectors_tag(linked.vectors + 1)
    else:
        Node(tmp_path / "node").link([])
    with pytest.raises(RoundVoid, match="0 of 3 devices sent their errors"):
        mapped(tmp_path, linked, request)


def test_an_interrupted_mapping_goes_on_from_its_last_epoch(tmp_path: Path) -> None:
    whole, again = world(), world()
    (tmp_path / "a").mkdir()
    transferred(tmp_path / "a", whole)
    transferred(tmp_path, again)
    request = again.request()
    mapped(tmp_path / "a", whole, request).load_into(*(each.training for each in whole.tried))
    phases = CONFIG.epochs * 5  # a cohort an epoch

    def die(answer: Answer) -> Iterable[Answer]:
        if answer.round == phases + 8:  # in the second epoch of the second learning rate
            raise KeyboardInterrupt
        return [answer]

    with pytest.raises(KeyboardInterrupt):
        mapped(tmp_path, again, request, die)
    late: list[Answer] = []
    job = mapped(tmp_path, again, request, noted(late))
    job.load_into(*(each.training for each in again.tried))
    assert min(answer.round for answer in late) == phases + 6  # the second epoch begins again
    for ours, theirs in zip(again.tried, whole.tried, strict=True):
        for mine, other in zip(ours.training.curve(), theirs.training.curve(), strict=True):
            assert mine.loss == pytest.approx(other.loss, rel=1e-2)


def test_a_learning_rate_that_diverges_is_left_out(tmp_path: Path) -> None:
    config = replace(CONFIG, learning_rates=(1e-3, 1e30))
    planted = world(config)
    transferred(tmp_path, planted)
    job = mapped(tmp_path, planted, planted.request(config=config))
    assert job.result["epochs"] == [CONFIG.epochs, None]
    job.load_into(*(each.training for each in planted.tried))
    assert planted.tried[0].training.best_rmse < 10


def test_without_devices_of_a_role_it_is_said_which(tmp_path: Path, linked: World) -> None:
    request = linked.request()
    job = Job.create(tmp_path / "job", about(request, 0.8), linked.start())
    with pytest.raises(ValueError, match="0 devices within reach validate the mapping, it takes 1"):
        job.work(Devices(tmp_path, request=request), TRAIN.tolist())
