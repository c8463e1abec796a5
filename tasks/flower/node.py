"""A node's devices: a file each and domain, and what each answers from it.

Like :mod:`tasks.flower.job` this runs where Flower is too: torch, numpy and safetensors alone.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypedDict, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from metaem_core.config.mapping import MappingConfig
from metaem_core.config.payload import Layout
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.ratings import Ratings, RatingScale, held_chance
from metaem_core.data.user_profile import PROFILE_SIZE
from metaem_core.federated.bytes import nobody, received_contract
from metaem_core.federated.encoding import (
    BadMessage,
    Contract,
    Message,
    contract_of,
    decode,
    digest,
    encode,
)
from metaem_core.federated.layouts import payload_of
from metaem_core.federated.remote.device import StoredRatings, errors_answer, step_answer
from metaem_core.federated.remote.mapping import MappingDevice, theta_message
from metaem_core.federated.remote.secure_rounds import PhaseMessage
from metaem_core.federated.secure.aggregation import OutOfTurn, SecureDevice
from metaem_core.federated.secure.coding import Coding
from metaem_core.federated.secure.device import SecureClient, SecureUser, degree_of, threshold_of
from metaem_core.methods.metaem.mapping import fresh_network, mapped_size
from metaem_core.methods.metaem.mapping_start import directions_of, identity
from metaem_core.methods.metaem.mapping_start_secure import (
    PROFILE_PRODUCTS,
    TASTE,
    StartUser,
    example_views,
    products_shapes,
)
from metaem_core.models.mlp import Parameters
from tasks.store.atomic import exclusive, replace_atomically, write_json

Kind = Literal["pretrain", "carry", "start", "mapping"]
PEOPLE = "people.json"  # of a node: which of its devices in one domain is whose in the other
KEPT = {"kept": torch.ones(1)}  # the answer to a vector


class Asked(TypedDict):
    """What a message to devices says of itself, beside its bytes."""

    kind: Kind
    domain: str
    config: str  # JSON
    source: str  # of a mapping and its start: the domain whose vectors are carried
    tag: str  # of the vectors that are brought or carried


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
        write_json(self.folder / "domain.json", {"items": ratings.n_items})
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
        own, payload = self._read(device, config), payload_of(layout_of(config), torch.Generator())
        form = received_contract(layout_of(config), self.items, config)
        rows, values = own.items[~own.held], own.values[~own.held]
        return step_answer(message, form, rows, values, payload, config.relu_last)

    def evaluate(self, device: int, message: bytes, config: PretrainConfig) -> bytes:
        """Its errors on the ratings that it keeps out of training; raises as :meth:`train`."""
        own, payload = self._read(device, config), payload_of(layout_of(config), torch.Generator())
        form = received_contract(layout_of(config), self.items, config)
        return errors_answer(message, form, own, payload, config.relu_last, config.scale)

    def _read(self, device: int, config: PretrainConfig) -> StoredRatings:
        parts = load_file(self._file(device))
        items = parts["items"].numpy()
        held = held_chance(items * 0 + device, items, config.seed) < config.holdout
        return StoredRatings(parts["items"], parts["values"], torch.from_numpy(held))

    def _file(self, device: int) -> Path:
        return self.folder / f"{device}.safetensors"

    def keep(self, device: int, message: bytes, tag: str, config: PretrainConfig) -> bytes:
        """What the domain made of its user, for other domains' apps on the same device."""
        form = {"profile": (torch.float32, (1, carried_size(config)))}
        profile = decode(message, form)
        path = self._profile(device, tag)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_atomically(path, partial(save_file, profile))
        return encode(KEPT)

    def profile(self, device: int, tag: str) -> Tensor:
        """What :meth:`keep` kept (1, k_s); FileNotFoundError if nothing."""
        return load_file(self._profile(device, tag))["profile"]

    def own(self, device: int) -> tuple[Tensor, Tensor]:
        """All items and ratings of a device."""
        parts = load_file(self._file(device))
        return parts["items"], parts["values"]

    def _profile(self, device: int, tag: str) -> Path:
        if not re.fullmatch("[0-9a-f]{32}", tag):
            raise BadMessage(f"no vectors are called {tag!r}")
        return self.folder / "profiles" / tag / f"{device}.safetensors"


@dataclass(frozen=True)
class Node:
    """All devices of one node; a folder a domain."""

    folder: Path

    def domain(self, name: str) -> DeviceFolder:
        """Raises BadMessage for what cannot be a domain's name."""
        if not re.fullmatch("[a-z0-9_]+", name):
            raise BadMessage(f"no domain is called {name!r}")
        return DeviceFolder(self.folder / name)

    def link(self, people: Sequence[Mapping[str, int]]) -> None:
        """Whose numbers in each domain belong together: on a phone, two apps of one person."""
        write_json(self.folder / PEOPLE, [dict(person) for person in people])

    def train(self, asked: Asked, device: int, message: bytes) -> bytes:
        """A device's part of a round.

        Raises:
            BadMessage: not a message of this domain's rounds.
            OSError: a device without what it is asked about.
        """
        domain = self.domain(asked["domain"])
        if asked["kind"] in ("start", "mapping"):
            return self._secure(asked, device, PhaseMessage.decoded(message))
        config = config_of(json.loads(asked["config"]))
        if asked["kind"] == "carry":
            return domain.keep(device, message, asked["tag"], config)
        return domain.train(device, message, config)

    def _secure(self, asked: Asked, device: int, told: PhaseMessage) -> bytes:
        """One phase of a secure round; the device's secrets lie on its disk from one to the next.

        A phase is put on record before its answer leaves: asked again, the device refuses. What
        it was told in the first one, the size of the cohort above all, holds for the others; who is
        told otherwise cannot read its shares. After the fourth its secrets are gone.
        """
        if told.phase == 5:
            return b""  # nothing of a device is trained here
        user, form = self._user(asked, device, told)
        shapes = tuple(torch.Size(shape) for shape in user_shapes(asked, told))
        coding, near = Coding(shapes, told.size, told.limit), degree_of(told.size)
        terms = digest(repr((sorted(asked.items()), told.terms)).encode())
        bound = digest(terms + told.place.to_bytes(8, "big"))
        store = self.domain(asked["domain"]).folder / "rounds" / f"{device}.safetensors"
        with exclusive(store):
            kept = None
            if told.phase > 1:
                state = {
                    name: [row.tobytes() for row in rows.numpy()]
                    for name, rows in load_file(store).items()
                }
                if state.pop("bound") != [bound]:
                    raise BadMessage("a phase of another round")
                if not state:
                    raise OutOfTurn(f"device {device} has taken part in this round")
                kept = SecureDevice.restored(told.place, threshold_of(near), state)
            client = SecureClient(user, told.place, coding, near, kept, terms)
            try:
                return client.answer(told.phase, told.messages, form)
            except OverflowError:
                raise BadMessage("places that no cohort has") from None
            finally:
                left = {} if told.phase == 4 else client.secrets.state()
                rows = _rows({**left, "bound": [bound]})
                replace_atomically(store, partial(save_file, rows))

    def _user(self, asked: Asked, device: int, told: PhaseMessage) -> tuple[SecureUser, Contract]:
        """Who answers, and the form of what everyone is sent."""
        if asked["kind"] == "mapping":
            carried, form, _ = self._carried(asked, device)
            return carried, form
        pretrain, _ = mapping_configs(json.loads(asked["config"]))
        domain = self.domain(asked["domain"])
        own = StartUser(self._profile(asked, device), *domain.own(device), told.sum == TASTE)
        return own, contract_of(example_start(domain.items, pretrain))

    def evaluate(self, asked: Asked, device: int, message: bytes) -> bytes:
        """A device's errors; raises as :meth:`train`."""
        if asked["kind"] == "mapping":
            carried, form, scale = self._carried(asked, device)
            return carried.errors(decode(message, form), scale)
        config = config_of(json.loads(asked["config"]))
        return self.domain(asked["domain"]).evaluate(device, message, config)

    def _carried(self, asked: Asked, device: int) -> tuple[MappingDevice, Contract, RatingScale]:
        pretrain, mapping = mapping_configs(json.loads(asked["config"]))
        domain = self.domain(asked["domain"])
        profile = self._profile(asked, device)
        form = contract_of(example(domain.items, pretrain, mapping))
        target = nobody(domain.items, pretrain)
        return MappingDevice(profile, target, *domain.own(device)), form, mapping.scale

    def _profile(self, asked: Asked, device: int) -> Tensor:
        """What the source left on this person's device."""
        return self.domain(asked["source"]).profile(self._other(asked, device), asked["tag"])

    def _other(self, asked: Asked, device: int) -> int:
        """The number in the source of the person who has this one in the target."""
        for person in json.loads((self.folder / PEOPLE).read_text()):
            if person[asked["domain"]] == device:
                return int(person[asked["source"]])
        raise FileNotFoundError(f"nobody here has device {device}")


def user_shapes(asked: Asked, told: PhaseMessage) -> Sequence[Sequence[int]]:
    """Of what is added up in a secure round."""
    pretrain, mapping = mapping_configs(json.loads(asked["config"]))
    if asked["kind"] == "mapping":
        return [part.shape for part in network_of(pretrain, mapping)]
    return products_shapes(
        directions_of(nobody(0, pretrain)) ** 2 if told.sum == TASTE else PROFILE_PRODUCTS
    )


def _rows(state: Mapping[str, Sequence[bytes]]) -> dict[str, Tensor]:
    """Strings of one width a name, as a file's rows."""
    return {
        name: torch.tensor([list(row) for row in rows], dtype=torch.uint8)
        for name, rows in state.items()
    }


def carried_size(config: PretrainConfig) -> int:
    """Width of what a device carries."""
    return config.user_size + (PROFILE_SIZE if config.centred else 0)


def example(items: int, pretrain: PretrainConfig, mapping: MappingConfig) -> Message:
    """A message of a mapping's rounds; the only form of one that devices read."""
    size, target = carried_size(pretrain), nobody(items, pretrain)
    start = identity(size, mapped_size(target), torch.float32)
    return theta_message(start, network_of(pretrain, mapping), target)


def network_of(pretrain: PretrainConfig, mapping: MappingConfig) -> Parameters:
    """A network of theta's shapes."""
    return fresh_network(mapping, carried_size(pretrain), nobody(0, pretrain), torch.float32)


def example_start(items: int, config: PretrainConfig) -> Message:
    """The only form in which devices are asked for the start of a mapping."""
    found = directions_of(nobody(0, config))
    return example_views(items, carried_size(config), config.user_size, found)


def config_of(told: dict[str, object]) -> PretrainConfig:
    """The config that :func:`asdict` made plain."""
    scale = RatingScale(**cast(dict[str, float], told["scale"]))
    return PretrainConfig(**{**told, "scale": scale})  # type: ignore[arg-type]


def mapping_configs(told: Mapping[str, dict[str, object]]) -> tuple[PretrainConfig, MappingConfig]:
    """The same for a mapping, with how its domains were pretrained."""
    plain = told["mapping"]
    scale = RatingScale(**cast(dict[str, float], plain["scale"]))
    rates = tuple(cast(list[float], plain["learning_rates"]))
    config = MappingConfig(**{**plain, "scale": scale, "learning_rates": rates})  # type: ignore[arg-type]
    return config_of(told["pretrain"]), config


def layout_of(config: PretrainConfig) -> Layout:
    if config.payload == "secure" or config.payload == "rows":
        raise ValueError(f"payload {config.payload} does not run on real devices: use product")
    return config.payload
