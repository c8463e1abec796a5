"""The files of one node's devices in one domain, and what follows from one of them alone."""

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from metaem_core.config.choice import ChoiceConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.ratings import Ratings, held_chance
from metaem_core.federated.bytes import received_contract
from metaem_core.federated.choice.device import OwnChoices
from metaem_core.federated.choice.server import ChoiceServer
from metaem_core.federated.encoding import BadMessage, Contract, contract_of, decode, encode
from metaem_core.federated.layouts import LayoutCodec
from metaem_core.federated.remote.device import (
    KEPT,
    StoredRatings,
    errors_answer,
    step_answer,
)
from tasks.flower.request import layout_of
from tasks.store.atomic import replace_atomically, write_json


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

    def assign(self, ratings: Ratings, devices: Sequence[int]) -> None:
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

    def answer(self, device: int, message: bytes, config: PretrainConfig, evaluates: bool) -> bytes:
        """Algorithm 1, lines 6 to 9, on one device, or its errors on the ratings it holds out.

        Raises:
            BadMessage: not a message of this domain's rounds.
        """
        layout = layout_of(config)
        codec = LayoutCodec(layout, torch.Generator())
        form = received_contract(layout, self.items, config)
        items, values = self.own(device)
        numbers = items.numpy()
        held = held_chance(numbers * 0 + device, numbers, config.seed) < config.holdout
        own = StoredRatings(items, values, torch.from_numpy(held))
        if evaluates:
            return errors_answer(message, form, own, codec, config.relu_last, config.scale)
        rows, trained = items[~own.held], values[~own.held]
        return step_answer(message, form, rows, trained, codec, config.relu_last)

    def _file(self, device: int) -> Path:
        return self.folder / f"{device}.safetensors"

    def keep(self, device: int, profile: Tensor, tag: str) -> bytes:
        """Store the user's vector or features for other domains' apps on the same device."""
        path = self._profile(device, tag)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_atomically(path, partial(save_file, {"profile": profile}))
        return encode(KEPT)

    def features(self, device: int, message: bytes, config: ChoiceConfig) -> Tensor:
        """What the user's choices here say to a mapping (1, 2 + d + p)."""
        form = {**choice_form(self.items, config), "turn": (torch.float32, (config.size, -1))}
        del form["summed"]
        return self.chosen(device, config).features(decode(message, form))

    def chosen(self, device: int, config: ChoiceConfig) -> OwnChoices:
        """The ratings that count as choices; raises BadMessage if none does."""
        items, values = self.own(device)
        if config.threshold is not None:
            items = items[values >= config.threshold]
        if not len(items):
            raise BadMessage(f"device {device} has no choices")
        return OwnChoices(items, config.unobserved, config.l2)

    def profile(self, device: int, tag: str) -> Tensor:
        """What :meth:`keep` kept, one row; FileNotFoundError if nothing."""
        return load_file(self._profile(device, tag))["profile"]

    def own(self, device: int) -> tuple[Tensor, Tensor]:
        """All items and ratings of a device."""
        parts = load_file(self._file(device))
        return parts["items"], parts["values"]

    def _profile(self, device: int, tag: str) -> Path:
        if not re.fullmatch("[0-9a-f]{32}", tag):
            raise BadMessage(f"no vectors are called {tag!r}")
        return self.folder / "profiles" / tag / f"{device}.safetensors"


def choice_server(items: int, config: ChoiceConfig) -> ChoiceServer:
    """A server of the shapes of this domain's."""
    leading = torch.zeros(items, min(config.leading, items))
    return ChoiceServer(config, torch.zeros(items, config.size), leading)


def choice_form(items: int, config: ChoiceConfig) -> Contract:
    """The only form of a message of this domain's rounds that devices read."""
    return contract_of(choice_server(items, config).broadcast())
