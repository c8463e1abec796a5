"""Training over a link: equal to the simulation, and unmoved by devices that misbehave."""

import json
import secrets
import struct
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.ratings import Ratings, held_chance
from metaem_core.federated.encoding import SUM, digest, encode
from metaem_core.federated.remote.collection import RoundVoid
from metaem_core.federated.remote.exchange import Answer
from metaem_core.federated.secure.aggregation import OutOfTurn
from metaem_core.federated.training import Training
from metaem_core.methods.metaem.pretraining import Pretraining
from tasks.flower.job import Job, Spec, Superseded
from tasks.flower.node import Node
from tasks.flower.request import Configs, Request
from tasks.flower.star_job import pretrain_start
from tests.support.damage import DAMAGES
from tests.support.worlds import random_ratings

RATINGS = random_ratings(n_users=40, n_items=60, mean_count=9, seed=3)
CONFIG = PretrainConfig(hidden_size=24, cohort_size=16, epochs=2, holdout=0.2)
ALL = list(range(40))


def request_of(config: PretrainConfig) -> Request:
    plain = Configs(config).encoded()
    return Request(kind="pretrain", domain="music", config=plain, source="", tag="")


REQUEST = request_of(CONFIG)

SILENT = (OSError, ValueError, OutOfTurn)  # why a device does not answer
Spoil = Callable[[Answer], Iterable[Answer]]
Ask = Callable[[Request, int, bytes], bytes]


def honest(answer: Answer) -> Iterable[Answer]:
    return [answer]


class Devices:
    """Real devices with files of their own, behind a link that ``spoil`` has its way with.

    ``lie`` is the same for their errors.
    """

    def __init__(self, folder: Path, spoil: Spoil = honest, request: Request = REQUEST) -> None:
        self.node, self.request = Node(folder / "node"), request
        self.spoil, self.lie = spoil, honest
        self.folder = self.node.domain("music")
        if not self.folder.devices():
            self.folder.assign(RATINGS, ALL)

    def train(self, number: int, messages: Mapping[int, bytes]) -> Iterable[Answer]:
        return self.answers(number, messages, self.node.train, self.spoil)

    def evaluate(self, number: int, messages: Mapping[int, bytes]) -> Iterable[Answer]:
        return self.answers(number, messages, self.node.evaluate, self.lie)

    def sent(self, device: int, data: bytes) -> bytes:
        return data

    def answers(
        self, number: int, messages: Mapping[int, bytes], ask: Ask, spoil: Spoil
    ) -> Iterable[Answer]:
        for device, data in messages.items():
            with suppress(*SILENT):
                yield from spoil(
                    Answer(number, device, ask(self.request, device, self.sent(device, data)))
                )


def job(folder: Path, config: PretrainConfig = CONFIG, quorum: float = 0.8) -> Job:
    start = pretrain_start(*Pretraining(config, RATINGS).start())
    return Job.create(folder / "job", about(request_of(config), quorum), start)


def about(request: Request, quorum: float, nodes: int = 1, timeout: float = 1) -> Spec:
    attempt = secrets.token_hex(4)
    return Spec(
        attempt=attempt, request=request, nodes=nodes, timeout=timeout, quorum=quorum, largest=1e4
    )


def trained(job: Job, config: PretrainConfig = CONFIG) -> Pretraining:
    stage = Pretraining(config, RATINGS)
    job.load_into(stage.training)
    return stage


def simulated(config: PretrainConfig = CONFIG, ratings: Ratings = RATINGS) -> Pretraining:
    stage = Pretraining(config, ratings)
    finish(stage.training)
    return stage


def finish(training: Training) -> None:
    for _ in training.epochs(lambda stats: None):
        pass


def same(ours: Pretraining, theirs: Pretraining, tolerance: float = 1e-6) -> None:
    for name, tensor in theirs.training.state().items():
        trained = ours.training.state()[name]
        assert torch.allclose(trained, tensor, rtol=tolerance, atol=tolerance), name


def test_training_over_a_link_is_the_simulation(tmp_path: Path) -> None:
    work = job(tmp_path)
    devices = Devices(tmp_path)
    work.work(devices, devices.folder.devices())
    assert (work.result["devices"], work.result["refused"]) == (len(simulated().training.users), [])
    epochs, counted = CONFIG.epochs, simulated().traffic()
    assert work.result["trained"] == (epochs * counted.down, epochs * counted.up)
    same(trained(work), simulated())


def test_an_interrupted_job_goes_on_from_its_last_epoch(tmp_path: Path) -> None:
    """And counts the bytes of the first part too."""
    devices = Devices(tmp_path)

    def die(answer: Answer) -> Iterable[Answer]:
        if answer.round == 5:  # in the second epoch
            raise KeyboardInterrupt
        return [answer]

    devices.spoil = die
    with pytest.raises(KeyboardInterrupt):
        job(tmp_path).work(devices, ALL)
    devices.spoil = honest
    again = job(tmp_path)  # the same folder
    saved = again.checkpoint().load()
    assert saved is not None
    assert saved[0] == 1
    again.work(devices, ALL)
    assert again.result["trained"].down == CONFIG.epochs * simulated().traffic().down
    same(trained(again), simulated())


def altered(answer: Answer, **changes: float) -> Answer:
    parts = load(answer.message[SUM:])
    changed = {name: torch.full_like(parts[name], value) for name, value in changes.items()}
    return answer._replace(message=encode({**parts, **changed}))


def scaled(answer: Answer, factor: float) -> Answer:
    parts = load(answer.message[SUM:])
    return answer._replace(message=encode({**parts, "items": parts["items"] * factor}))


def late(answer: Answer) -> list[Answer]:
    """One to the round before, and the honest one twice."""
    return [scaled(answer, 0.5)._replace(round=answer.round - 1), answer]


def garbled(answer: Answer) -> list[Answer]:
    half = answer.message[: len(answer.message) // 2]
    return [answer._replace(message=half), answer._replace(message=b"")]


def outlandish(answer: Answer) -> list[Answer]:
    """Bytes that safetensors itself stumbles over: four-bit numbers, a shape without end."""
    four, endless = (
        {"x": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}},
        {"x": {"dtype": "F32", "shape": [2**63, 0], "data_offsets": [0, 0]}},
    )
    unreadable = []
    for header, body in ((four, b"\0"), (endless, b"")):
        text = json.dumps(header).encode()
        content = struct.pack("<Q", len(text)) + text + body
        unreadable.append(answer._replace(message=digest(content) + content))
    return unreadable


UNFIT: dict[str, Callable[[Answer], list[Answer]]] = {
    "late": late,
    "foreign": lambda answer: [answer._replace(device=999)],
    "beyond all measure": lambda answer: [scaled(answer, 1e9)],
    "not a number": lambda answer: [scaled(answer, float("nan"))],
    "garbled": garbled,
    "outlandish": outlandish,
    "negative count": lambda answer: [altered(answer, n_ratings=-3)],
    "boastful": lambda answer: [
        altered(answer, n_ratings=2**31 - 1),
        altered(answer, squared_error=1e300),
    ],
}


@pytest.mark.parametrize("kind", UNFIT)
def test_what_is_not_fit_to_use_is_left_out_and_listed(tmp_path: Path, kind: str) -> None:
    work = job(tmp_path)
    work.work(Devices(tmp_path, lambda answer: [*UNFIT[kind](answer), answer]), ALL)
    assert len(work.result["refused"]) >= 60
    same(trained(work), simulated())


def test_without_some_devices_a_round_is_that_of_the_others(tmp_path: Path) -> None:
    silent = {1, 2}
    work = job(tmp_path, quorum=0.4)
    work.work(Devices(tmp_path, lambda a: [] if a.device in silent else [a]), ALL)
    ours, start = trained(work)._model, Pretraining(CONFIG, RATINGS)._model
    moved = (ours.user_embeddings != start.user_embeddings).any(1)
    assert not moved[[1, 2]].any()
    assert moved[[4, 5, 8]].all()


def test_without_a_quorum_nothing_changes(tmp_path: Path) -> None:
    work = job(tmp_path)
    with pytest.raises(RoundVoid, match=r"round 3: \d of 16 devices answered, needs 80%"):
        work.work(Devices(tmp_path, lambda a: [a] if a.device < 8 else []), ALL)
    assert work.checkpoint().load() is None


def test_a_device_that_is_back_in_the_next_attempt_is_heard(tmp_path: Path) -> None:
    seen: set[int] = set()

    def stumble(answer: Answer) -> Iterable[Answer]:
        first = answer.device not in seen
        seen.add(answer.device)
        return [] if first else [answer]

    work = job(tmp_path)
    work.work(Devices(tmp_path, stumble), ALL)
    same(trained(work), simulated())


def test_devices_without_ratings_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no device within reach"):
        job(tmp_path).work(Devices(tmp_path), [0])


@pytest.mark.parametrize("lie", [[1, -1e9, 1], [0, 0, 1e12], [1, 1, 0.5], [9, 1, 1], [1, 99, 1]])
def test_errors_that_no_ratings_have_are_left_out(tmp_path: Path, lie: list[float]) -> None:
    false = encode({"errors": torch.tensor(lie, dtype=torch.float64)})
    work, devices = job(tmp_path), Devices(tmp_path)
    devices.lie = lambda answer: [answer._replace(message=false), answer]
    work.work(devices, ALL)
    assert "errors that its ratings cannot have" in work.result["refused"][0]
    same(trained(work), simulated())


def test_without_ratings_to_stop_by_it_is_said_so(tmp_path: Path) -> None:
    devices, kept = Devices(tmp_path), held_chance(RATINGS.users, RATINGS.items, 0) >= 0.2
    none = [d for d in ALL if kept[RATINGS.users == d].all() and (RATINGS.users == d).any()]
    with pytest.raises(ValueError, match="no device within reach keeps ratings"):
        job(tmp_path).work(devices, none[:3])


def test_a_job_handed_out_again_is_left_to_the_other(tmp_path: Path) -> None:
    work, devices = job(tmp_path), Devices(tmp_path)
    again = []

    def hand_out(answer: Answer) -> Iterable[Answer]:
        if not again:
            again.append(job(tmp_path))
        return [answer]

    devices.spoil = hand_out
    with pytest.raises(Superseded):
        work.work(devices, ALL)
    assert again[0].checkpoint().load() is None
    again[0].work(devices, ALL)
    same(trained(again[0]), simulated())


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_result_is_not_taken_in(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    work = job(tmp_path)
    work.work(Devices(tmp_path), ALL)
    damage(work.checkpoint().path)
    with pytest.raises(ValueError, match="damaged"):
        trained(work)
