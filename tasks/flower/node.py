"""A node's devices: what each answers from its files.

Like :mod:`tasks.flower.job` this runs where Flower is too: torch, numpy, safetensors and
pydantic alone.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file
from torch import Tensor

from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.user_profile import PROFILE_SIZE
from metaem_core.federated.bytes import nobody
from metaem_core.federated.choice.device import (
    COUNTS,
    ChoiceDevice,
    CountDevice,
    OverlapDevice,
    count_message,
    overlap_shapes,
)
from metaem_core.federated.encoding import (
    BadMessage,
    Contract,
    Message,
    contract_of,
    decode,
    digest,
)
from metaem_core.federated.remote.mapping import MappingDevice, theta_message
from metaem_core.federated.remote.secure_rounds import PhaseMessage
from metaem_core.federated.secure.aggregation import OutOfTurn, SecureDevice
from metaem_core.federated.secure.coding import Coding
from metaem_core.federated.secure.device import SecureClient, SecureUser, degree_of, threshold_of
from metaem_core.methods.metaem.habit import LINE_SIZE
from metaem_core.methods.metaem.mapping import fresh_network, mapped_size
from metaem_core.methods.metaem.mapping_start import directions_of, identity
from metaem_core.methods.metaem.mapping_start_secure import (
    TASTE,
    StartUser,
    example_views,
    products_shapes,
)
from metaem_core.models.mlp import Parameters
from tasks.flower.folder import DeviceFolder, choice_form, choice_server
from tasks.flower.request import OPEN, Configs, Request
from tasks.store.atomic import exclusive, replace_atomically, write_json

LINKS = "links.json"  # of a node: the numbers that each of its users has in the domains


@dataclass(frozen=True)
class Node:
    """All devices of one node; a folder a domain."""

    folder: Path

    def domain(self, name: str) -> DeviceFolder:
        """Raises BadMessage for what cannot be a domain's name."""
        if not re.fullmatch("[a-z0-9_]+", name):
            raise BadMessage(f"no domain is called {name!r}")
        return DeviceFolder(self.folder / name)

    def link(self, users: Sequence[Mapping[str, int]]) -> None:
        """Record the number of each user in every domain: on a phone, two apps of one user."""
        write_json(self.folder / LINKS, [dict(user) for user in users])

    def train(self, request: Request, device: int, message: bytes) -> bytes:
        """A device's part of a round.

        Raises:
            BadMessage: not a message of this domain's rounds.
            OSError: the device lacks what the request needs.
        """
        if request["kind"] not in OPEN:
            return self._secure(request, device, PhaseMessage.decoded(message))
        domain, configs = self.domain(request["domain"]), Configs.of(request)
        if request["kind"] == "pretrain":
            return domain.answer(device, message, configs.pretrain, evaluates=False)
        if request["kind"] == "features":
            profile = domain.features(device, message, configs.choice)
        else:
            form = {"profile": (torch.float32, (1, kept_size(configs.pretrain)))}
            profile = decode(message, form)["profile"]
        return domain.keep(device, profile, request["tag"])

    def evaluate(self, request: Request, device: int, message: bytes) -> bytes:
        """A device's errors; raises as :meth:`train`."""
        domain, configs = self.domain(request["domain"]), Configs.of(request)
        if request["kind"] == "mapping":
            theta = decode(message, contract_of(theta_example(domain.items, configs)))
            return self._mapper(request, device).errors(theta, configs.mapping.scale)
        return domain.answer(device, message, configs.pretrain, evaluates=True)

    def _secure(self, request: Request, device: int, phase: PhaseMessage) -> bytes:
        """One phase of a secure round; the device's secrets lie on its disk from one to the next.

        A phase is recorded before its answer leaves: a second request for it is refused. What
        the first one says, the size of the cohort above all, holds for the others: with other terms
        the shares cannot be read. After the fourth the secrets are deleted. Each job has a folder
        of its own, because a domain's stars and choices may train at the same time.
        """
        if phase.phase == 5:
            return b""  # nothing of a device is trained here
        user, form, shapes = self._part(request, device, phase.sum)
        coding, near = Coding(shapes, phase.size, phase.limit), degree_of(phase.size)
        job = sorted(request.items())
        terms = digest(repr((job, phase.terms)).encode())
        bound = digest(terms + phase.place.to_bytes(8, "big"))
        rounds = self.domain(request["domain"]).folder / "rounds"
        store = rounds / digest(repr(job).encode()).hex() / f"{device}.safetensors"
        with exclusive(store):
            kept = None
            if phase.phase > 1:
                state = {
                    name: [row.tobytes() for row in rows.numpy()]
                    for name, rows in load_file(store).items()
                }
                if state.pop("bound") != [bound]:
                    raise BadMessage("a phase of another round")
                if not state:
                    raise OutOfTurn(f"device {device} has taken part in this round")
                kept = SecureDevice.restored(phase.place, threshold_of(near), state)
            client = SecureClient(user, phase.place, coding, near, kept, terms)
            try:
                return client.answer(phase.phase, phase.messages, form)
            except OverflowError:
                raise BadMessage("places that no cohort has") from None
            finally:
                left = {} if phase.phase == 4 else client.secrets.state()
                rows = _rows({**left, "bound": [bound]})
                replace_atomically(store, partial(save_file, rows))

    def _part(
        self, request: Request, device: int, number: int
    ) -> tuple[SecureUser, Contract, tuple[torch.Size, ...]]:
        """Who answers in sum ``number``, the form of what they are sent, and the sum's shapes."""
        domain, configs = self.domain(request["domain"]), Configs.of(request)
        if request["kind"] == "mapping":
            form = contract_of(theta_example(domain.items, configs))
            shapes = tuple(part.shape for part in network_of(configs))
            return self._mapper(request, device), form, shapes
        if request["kind"] in ("choice", "overlap"):
            return self._chooser(request, device, number)
        pretrain, taste = configs.pretrain, number == TASTE
        directions = directions_of(nobody(0, pretrain))
        user = StartUser(device, self._profile(request, device), *domain.own(device), taste)
        views = example_views(domain.items, kept_size(pretrain), pretrain.user_size, directions)
        width = directions**2 if taste else LINE_SIZE
        return user, contract_of(views), products_shapes(width)

    def _chooser(
        self, request: Request, device: int, number: int
    ) -> tuple[SecureUser, Contract, tuple[torch.Size, ...]]:
        domain, config = self.domain(request["domain"]), Configs.of(request).choice
        own, form = domain.chosen(device, config), choice_form(domain.items, config)
        if number == COUNTS:
            counted = contract_of(count_message(domain.items))
            return CountDevice(own), counted, (torch.Size((domain.items,)),)
        if request["kind"] == "choice":
            return ChoiceDevice(own), form, choice_server(domain.items, config).shapes
        features, size = self._profile(request, device), config.size
        shapes = overlap_shapes(domain.items, size, features.shape[1], config.leading)
        turned = {**form, "turn": (torch.float32, (size, size))}
        del turned["leading"]
        return OverlapDevice(features, config.leading, own), turned, shapes

    def _mapper(self, request: Request, device: int) -> MappingDevice:
        domain = self.domain(request["domain"])
        target = nobody(domain.items, Configs.of(request).pretrain)
        return MappingDevice(self._profile(request, device), target, *domain.own(device))

    def _profile(self, request: Request, device: int) -> Tensor:
        """The vector that the source left on this user's device."""
        users = TypeAdapter(list[dict[str, int]]).validate_json((self.folder / LINKS).read_bytes())
        for user in users:
            if user[request["domain"]] == device:
                source = self.domain(request["source"])
                return source.profile(user[request["source"]], request["tag"])
        raise FileNotFoundError(f"no user here has device {device}")


def _rows(state: Mapping[str, Sequence[bytes]]) -> dict[str, Tensor]:
    """Strings of one width a name, as a file's rows."""
    return {
        name: torch.tensor([list(row) for row in rows], dtype=torch.uint8)
        for name, rows in state.items()
    }


def kept_size(config: PretrainConfig) -> int:
    """Width of the vector that a device keeps."""
    return config.user_size + (PROFILE_SIZE if config.centred else 0)


def theta_example(items: int, configs: Configs) -> Message:
    """A message of a mapping's rounds; the only form of one that devices read."""
    target = nobody(items, configs.pretrain)
    start = identity(kept_size(configs.pretrain), mapped_size(target), torch.float32)
    return theta_message(start, network_of(configs), target)


def network_of(configs: Configs) -> Parameters:
    """A network of theta's shapes."""
    target = nobody(0, configs.pretrain)
    return fresh_network(configs.mapping, kept_size(configs.pretrain), target, torch.float32)
