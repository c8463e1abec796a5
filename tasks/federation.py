"""A pretraining handed to real devices: the job's folder, and a device's own files.

This module runs in two environments, the product's and Flower's: it needs torch, numpy and
safetensors alone.
"""

import json
import os
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, TypedDict, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from metaem_core.federated.costs import received_contract
from metaem_core.federated.exchange import answered
from metaem_core.federated.modes import Layout
from metaem_core.federated.payloads import payload_of
from metaem_core.federated.remote import (
    OWN,
    Exchange,
    Link,
    RemoteRounds,
    Rules,
    StoredUser,
    told_errors,
)
from metaem_core.federated.training import Schedule, Training
from metaem_core.methods.metaem_pretraining import live_tensors, pretrain_server
from metaem_core.methods.pretrain_config import PretrainConfig
from metaem_core.models.domain import DomainModel, domain_of
from metaem_core.ratings import Ratings, RatingScale, held_chance
from tasks.checkpoints import Checkpoint
from tasks.files import replace_atomically

QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "OMP_NUM_THREADS": "1",
}
CONSTANTS = ("item_offsets", "item_traits", "user_traits")


class About(TypedDict):
    """``job.json``."""

    attempt: str  # whoever trains for an earlier one stops
    domain: str
    nodes: int  # that must be there before it begins
    patience: float  # seconds that a silent node is waited for
    quorum: float
    largest: float
    config: dict[str, object]


class Done(TypedDict):
    """``done.json``."""

    attempt: str  # the one that finished
    devices: int  # that trained
    epochs: int
    refused: list[str]  # answers that were left out, in words
    trained: dict[str, int]  # bytes of messages down and up, in rounds
    evaluated: dict[str, int]  # and in validations


class Superseded(RuntimeError):
    """Somebody else trains this job now."""


class Job:
    """One pretraining as a folder that the product and the federation's server share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(
        cls,
        folder: Path,
        about: About,
        model: DomainModel,
        of_user: Tensor,
        of_item: Tensor,
        members: Tensor,
    ) -> "Job":
        """What the server is given: a start and counts, no rating. A finished epoch stays.

        Args:
            of_user, of_item: how many ratings each trains on (m,), (n,).
            members: users (M,) whose ratings may be used at all.
        """
        folder.mkdir(parents=True, exist_ok=True)
        start = {**live_tensors(model), "of_user": of_user, "of_item": of_item}
        start["members"] = members
        start |= {name: getattr(model, name) for name in CONSTANTS}
        whole = {name: tensor.detach().contiguous() for name, tensor in start.items()}
        replace_atomically(folder / "start.safetensors", lambda path: save_file(whole, path))
        _write(folder / "job.json", about)  # from here on an earlier attempt writes nothing
        for name in ("done.json", "failed.json", "progress.json"):
            (folder / name).unlink(missing_ok=True)
        return cls(folder)

    @property
    def about(self) -> About:
        return cast(About, json.loads((self.folder / "job.json").read_text()))

    @property
    def config_text(self) -> str:
        """The config as devices are told it."""
        return json.dumps(self.about["config"])

    @property
    def checkpoint(self) -> Checkpoint:
        """The last finished epoch; the last of all once the job is done."""
        return Checkpoint(self.folder)

    def train(self, link: Link, devices: Sequence[int]) -> None:
        """Train to the end over a link, from the last finished epoch if there is one.

        Raises:
            Superseded: the job was handed out again meanwhile; nothing more is written.
            ValueError: none of the ``devices`` has ratings to train on.
            RoundVoid: too few devices answered, several times in a row.
        """
        about = self.about
        config = config_of(about["config"])
        start = load_file(self.folder / "start.safetensors")
        model = domain_of(start, config.relu_last, config.meta_reads_raw)
        server = pretrain_server(config, model, start["of_user"], start["of_item"])
        payload = payload_of(_layout(config), torch.Generator())
        rules = Rules(about["quorum"], about["largest"])
        of_user = start["of_user"]
        exchange = Exchange(link, rules, len(model.common_items), config.scale)
        rounds = RemoteRounds(server, exchange, payload, of_user)
        members = start["members"][torch.isin(start["members"], torch.tensor(devices))]
        users = members[of_user[members] > 0]
        if not len(users):
            raise ValueError("no device within reach has ratings to train on")
        schedule = Schedule(config.cohort_size, config.epochs, config.patience, config.seed)
        training = Training(
            rounds, users, schedule, live_tensors(model), lambda: rounds.validate(members)
        )
        if (saved := self.checkpoint.load()) is not None:
            training.load(saved[1])
        for stats in training.epochs(lambda stats: None):
            self._require_latest(about["attempt"])
            self.checkpoint.save(stats.epoch, training.state())
            told = {"epoch": stats.epoch, "of": config.epochs, "rmse": stats.validation_rmse}
            _write(self.folder / "progress.json", told)
        self._require_latest(about["attempt"])
        done = Done(
            attempt=about["attempt"],
            devices=len(users),
            refused=exchange.refused,
            epochs=int(training.epoch),
            trained=_way(exchange.trained),
            evaluated=_way(exchange.evaluated),
        )
        _write(self.folder / "done.json", done)

    def _require_latest(self, attempt: str) -> None:
        if self.about["attempt"] != attempt:
            raise Superseded("this job was handed out again")

    def load_into(self, training: Training) -> None:
        """Take over the last epoch of a job that is done.

        Raises:
            ValueError: what is there is not what the job left.
        """
        done, saved = self.done, self.checkpoint.load()
        if done is None or saved is None or saved[0] != done["epochs"]:
            raise ValueError(f"the result in {str(self.folder)!r} is damaged: run it again")
        training.load({name: part for name, part in saved[1].items() if name not in OWN})

    def fail(self, error: Exception) -> None:
        """Leave word of what went wrong; only its kind where it is not ours."""
        traceback.print_exception(error)
        if isinstance(error, Superseded):
            return
        ours = isinstance(error, ValueError | RuntimeError | TimeoutError)
        told = f"{type(error).__name__}: {error}" if ours else type(error).__name__
        _write(self.folder / "failed.json", {"error": told})

    @property
    def failure(self) -> str | None:
        path = self.folder / "failed.json"
        return str(json.loads(path.read_text())["error"]) if path.exists() else None

    @property
    def progress(self) -> dict[str, float] | None:
        path = self.folder / "progress.json"
        return cast(dict[str, float], json.loads(path.read_text())) if path.exists() else None

    @property
    def done(self) -> Done | None:
        path = self.folder / "done.json"
        return cast(Done, json.loads(path.read_text())) if path.exists() else None


class DeviceFolder:
    """The devices of one node and domain: a file each, which only that device reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def items(self) -> int:
        """Items of the domain."""
        return int(json.loads((self.folder / "domain.json").read_text())["items"])

    def devices(self) -> list[int]:
        return sorted(int(path.stem) for path in self.folder.glob("*.safetensors"))

    def deal(self, ratings: Ratings, devices: Sequence[int]) -> None:
        """Give each of ``devices`` the ratings of the user of its number."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(self.folder / "domain.json", {"items": ratings.n_items})
        for device in devices:
            own = ratings.users == device
            parts = {
                "items": torch.from_numpy(ratings.items[own]),
                "values": torch.from_numpy(ratings.values[own]),
            }
            if own.any():
                replace_atomically(self._file(device), partial(save_file, parts))

    def train(self, device: int, message: bytes, config: PretrainConfig) -> bytes:
        """Algorithm 1, lines 6 to 9, on one device.

        Raises:
            BadMessage: not a message of this domain's rounds.
        """
        own, payload = self._read(device, config), payload_of(_layout(config), torch.Generator())
        form = received_contract(_layout(config), self.items, config)
        rows, values = own.items[~own.held], own.values[~own.held]
        return answered(message, form, rows, values, payload, config.relu_last)

    def evaluate(self, device: int, message: bytes, config: PretrainConfig) -> bytes:
        """Its errors on the ratings that it keeps out of training; raises as :meth:`train`."""
        own, payload = self._read(device, config), payload_of(_layout(config), torch.Generator())
        form = received_contract(_layout(config), self.items, config)
        return told_errors(message, form, own, payload, config.relu_last, config.scale)

    def _read(self, device: int, config: PretrainConfig) -> StoredUser:
        parts = load_file(self._file(device))
        items = parts["items"].numpy()
        held = held_chance(items * 0 + device, items, config.seed) < config.holdout
        return StoredUser(parts["items"], parts["values"], torch.from_numpy(held))

    def _file(self, device: int) -> Path:
        return self.folder / f"{device}.safetensors"


@dataclass(frozen=True)
class Connection:
    """How a running federation is reached; ``connection.json`` in its folder."""

    flower: str  # bin folder of its environment
    home: str  # FLWR_HOME, which names the SuperLink
    nodes: int
    patience: float  # seconds that a silent node is waited for

    NAME: ClassVar[str] = "connection.json"

    @property
    def environment(self) -> dict[str, str]:
        """What Flower's programs are told: where they are, and to tell nobody."""
        path = f"{self.flower}{os.pathsep}{os.environ.get('PATH', '')}"
        return {**QUIET, "FLWR_HOME": self.home, "PATH": path}

    def write(self, folder: Path) -> None:
        _write(folder / self.NAME, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Connection":
        """Raises ValueError where no federation is up."""
        path = folder / cls.NAME
        if not path.exists():
            raise ValueError(
                f"no federation is up in {str(folder)!r}: start one with `metaem federation up`"
            )
        return cls(**json.loads(path.read_text()))


def config_of(told: dict[str, object]) -> PretrainConfig:
    """The config that :func:`asdict` made plain."""
    scale = RatingScale(**cast(dict[str, float], told["scale"]))
    return PretrainConfig(**{**told, "scale": scale})  # type: ignore[arg-type]


def _way(traffic: Tensor) -> dict[str, int]:
    down, up = traffic.tolist()
    return {"down": down, "up": up}


def _layout(config: PretrainConfig) -> Layout:
    if config.payload == "secure" or config.payload == "rows":
        raise ValueError(f"payload {config.payload} does not run on real devices: use product")
    return config.payload


def _write(path: Path, content: object) -> None:
    replace_atomically(path, lambda temporary: temporary.write_text(json.dumps(content)))
