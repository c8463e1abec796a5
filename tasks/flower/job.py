"""Work handed to real devices: the job's folder, and how it is done over a link.

This module runs in two environments, the product's and Flower's: it needs torch, numpy,
safetensors and pydantic alone.
"""

import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file
from torch import Tensor
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from metaem_core.federated.choice.training import ChoiceTraining
from metaem_core.federated.encoding import Traffic, contract_of, decode
from metaem_core.federated.messages import Upload
from metaem_core.federated.remote.device import KEPT
from metaem_core.federated.remote.exchange import OWN, Exchange, Link, Rules
from metaem_core.federated.remote.secure_rounds import RoundSpoilt
from metaem_core.federated.training import Training
from metaem_core.models.choice_mapping import OverlapSums
from metaem_core.models.metaem import network
from metaem_core.models.mlp import Parameters
from metaem_core.training.epochs import Divergence
from tasks.flower.choice_job import choice_trainings, feature_messages, overlap_of
from tasks.flower.reach import within
from tasks.flower.request import Configs, Request
from tasks.flower.star_job import mapping_trainings, pretrainings, theta_start, vector_messages
from tasks.store.atomic import replace_atomically, write_json
from tasks.store.checkpoints import Checkpoint

START, SUMS = "start.safetensors", "sums.safetensors"
AnyTraining = Training | ChoiceTraining
T = TypeVar("T")


class Spec(TypedDict):
    """``job.json``."""

    attempt: str  # whoever trains for an earlier one stops
    request: Request  # goes with every message to devices
    nodes: int  # that must be there before it begins
    timeout: float  # seconds that a silent node is waited for
    quorum: float
    largest: float


class Done(TypedDict):
    """``done.json``."""

    attempt: str  # the one that finished
    devices: int  # that took part
    epochs: list[int | None]  # of each training; None: it diverged
    refused: list[str]  # answers that were left out, in words
    trained: Traffic  # bytes of messages in rounds
    evaluated: Traffic  # and in validations


class Progress(TypedDict):
    """``progress.json``."""

    epoch: int
    of: int
    news: str


class Superseded(RuntimeError):
    """Somebody else trains this job now."""


class Job:
    """Work for devices as a folder that the product and the federation's server share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, folder: Path, spec: Spec, start: Mapping[str, Tensor]) -> "Job":
        """What the server is given, no rating of anyone. A finished epoch stays."""
        folder.mkdir(parents=True, exist_ok=True)
        whole = {name: tensor.detach().clone().contiguous() for name, tensor in start.items()}
        replace_atomically(folder / START, lambda path: save_file(whole, path))
        write_json(folder / "job.json", spec)  # from here on an earlier attempt writes nothing
        for name in ("done.json", "failed.json", "progress.json"):
            (folder / name).unlink(missing_ok=True)
        return cls(folder)

    @property
    def spec(self) -> Spec:
        return TypeAdapter(Spec).validate_json((self.folder / "job.json").read_bytes())

    def checkpoint(self, number: int = 0) -> Checkpoint:
        """The last finished epoch of one of its trainings; the last of all once it is done."""
        return Checkpoint(self.folder / str(number) if number else self.folder)

    def work(self, link: Link, devices: Sequence[int]) -> None:
        """Do it to the end over a link, from the last finished epoch if there is one.

        Raises:
            Superseded: the job was handed out again meanwhile; nothing more is written.
            ValueError: none of the ``devices`` can take part.
            RoundVoid: too few devices answered, several times in a row.
        """
        spec, start = self.spec, load_file(self.folder / START)
        configs, kind = Configs.of(spec["request"]), spec["request"]["kind"]
        rules, items = Rules(spec["quorum"], spec["largest"]), len(start.get("common_items", ()))
        exchange = Exchange(link, rules, items, configs.pretrain.scale)
        epochs: list[int | None] = []
        if kind in ("keep", "features"):
            messages = vector_messages if kind == "keep" else feature_messages
            reached = leave(exchange, messages(start, devices))
        elif kind in ("start", "overlap"):
            users = within(start["train"], devices)
            summed = theta_start if kind == "start" else overlap_of
            sums, reached = summed(start, exchange, users), len(users)
            replace_atomically(self.folder / SUMS, partial(save_file, sums))
        else:
            trainings = TRAININGS[kind](configs, start, exchange, devices)
            reached = len(trainings[0].users)
            epochs = self._train_each(spec["attempt"], trainings, exchange.refused)
        self._require_latest(spec["attempt"])
        done = Done(
            attempt=spec["attempt"],
            devices=reached,
            epochs=epochs,
            refused=exchange.refused,
            trained=Traffic(*exchange.trained.tolist()),
            evaluated=Traffic(*exchange.evaluated.tolist()),
        )
        write_json(self.folder / "done.json", done)

    def _train_each(
        self, attempt: str, trainings: Sequence[AnyTraining], refused: list[str]
    ) -> list[int | None]:
        """Epochs of each training; one that failed is refused, unless all did."""
        epochs: list[int | None] = []
        failure: Divergence | RoundSpoilt | None = None
        for number, training in enumerate(trainings):
            try:
                self._train(attempt, number, training, len(trainings))
                epochs.append(int(training.epoch))
            except (Divergence, RoundSpoilt) as error:
                failure = error
                refused.append(f"learning rate {number + 1}: {error}")
                epochs.append(None)
        if failure is not None and not any(epochs):
            raise failure
        return epochs

    def _train(self, attempt: str, number: int, training: AnyTraining, of: int) -> None:
        checkpoint = self.checkpoint(number)
        if (saved := checkpoint.load()) is not None:
            training.load(saved[1])
        total = training.config.epochs
        for stats in training.epochs(lambda stats: None):
            self._require_latest(attempt)
            checkpoint.save(stats.epoch, training.state())
            done = number * total + stats.epoch
            progress = Progress(epoch=done, of=of * total, news=stats.news)
            write_json(self.folder / "progress.json", progress)

    def _require_latest(self, attempt: str) -> None:
        if self.spec["attempt"] != attempt:
            raise Superseded("this job was handed out again")

    def is_done(self, request: Request, start: Mapping[str, Tensor]) -> bool:
        """Whether this very job has been done here."""
        if self.done is None or self.spec["request"] != request:
            return False
        before = load_file(self.folder / START)
        return before.keys() == start.keys() and all(
            torch.equal(before[name], tensor) for name, tensor in start.items()
        )

    def start(self) -> Parameters:
        """Where f_theta begins, which a job of kind ``start`` computed."""
        return network(load_file(self.folder / SUMS), "start")

    def sums(self) -> OverlapSums:
        """What devices added up for a mapping of choices, in a job of kind ``overlap``."""
        return OverlapSums(**load_file(self.folder / SUMS))

    def load_into(self, *trainings: AnyTraining) -> None:
        """Take over the last epochs of a job that is done, but for trainings that diverged.

        Raises:
            ValueError: what is there is not what the job left.
        """
        for number, training in enumerate(trainings):
            if (epochs := self.result["epochs"][number]) is None:
                continue
            saved = self.checkpoint(number).load()
            if saved is None or saved[0] != epochs:
                raise ValueError(f"the result in {str(self.folder)!r} is damaged: run it again")
            training.load({name: part for name, part in saved[1].items() if name not in OWN})

    def fail(self, error: Exception) -> None:
        """Record the error: its message, or only its kind where it is not ours."""
        traceback.print_exception(error)
        if isinstance(error, Superseded):
            return
        ours = isinstance(error, ValueError | RuntimeError | TimeoutError)
        text = f"{type(error).__name__}: {error}" if ours else type(error).__name__
        write_json(self.folder / "failed.json", {"error": text})

    @property
    def failure(self) -> str | None:
        return (self._read("failed.json", dict[str, str]) or {}).get("error")

    @property
    def progress(self) -> Progress | None:
        return self._read("progress.json", Progress)

    @property
    def done(self) -> Done | None:
        return self._read("done.json", Done)

    @property
    def result(self) -> Done:
        """What a job that is done left."""
        assert self.done is not None, "hand_out waits until it is done"
        return self.done

    def _read(self, name: str, kind: type[T]) -> T | None:
        path = self.folder / name
        return TypeAdapter(kind).validate_json(path.read_bytes()) if path.exists() else None


def leave(exchange: Exchange, messages: Mapping[int, bytes]) -> int:
    """Leave devices something to keep; returns how many took it."""

    def read(device: int, answer: bytes) -> Upload:
        return Upload({"kept": tuple(decode(answer, contract_of(KEPT)).values())}, 0.0, 0)

    return len(exchange.gathered(messages, dict.fromkeys(messages, 0), read))


Prepare = Callable[[Configs, Mapping[str, Tensor], Exchange, Sequence[int]], Sequence[AnyTraining]]
TRAININGS: dict[str, Prepare] = {
    "pretrain": pretrainings,
    "mapping": mapping_trainings,
    "choice": choice_trainings,
}
