"""The start of a mapping from sums that devices tell over a link (methods/transfer_start.py)."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from metaem_core.federated.protocol import Upload, combine
from metaem_core.federated.remote import Exchange
from metaem_core.federated.wire import Contract, Message, contract_of, decode, encode
from metaem_core.methods.transfer_start import (
    Doubles,
    OverlapSums,
    Products,
    SourceView,
    TargetView,
)
from metaem_core.traits import ITEM_TRAITS, USER_TRAITS, ItemScale

LARGEST = 1e9  # norm of a device's products, which grow with its ratings


def views_message(source: SourceView, target: TargetView) -> dict[str, Tensor]:
    """What both domains tell of all their users together."""
    scale = target.scale
    return {
        "source.centre": source.centre,
        "source.scale": source.scale,
        "source.directions": source.directions,
        "target.bias": torch.from_numpy(target.bias),
        "target.counts": torch.from_numpy(target.counts),
        "target.numbers": torch.tensor(
            [target.mean, target.damping, scale.bias, scale.mean, scale.deviation],
            dtype=torch.float64,
        ),
        "target.directions": target.directions,
        "target.items": target.items,
    }


def views_of(message: Message) -> tuple[SourceView, TargetView]:
    """What :func:`views_message` told."""
    mean, damping, *scale = message["target.numbers"].tolist()
    source = (message[f"source.{name}"] for name in SourceView._fields)
    target = TargetView(
        mean,
        message["target.bias"].numpy(),
        message["target.counts"].numpy(),
        damping,
        ItemScale(*scale),
        message["target.directions"],
        message["target.items"],
    )
    return SourceView(*source), target


def example_views(items: int, size: int, taste: int, directions: int) -> Message:
    """A message of that form; ``size`` and ``taste``: widths of a source vector and its taste."""
    nobody = torch.zeros(size)
    source = SourceView(nobody, nobody.clone(), torch.zeros(taste, directions))
    nothing, none = np.zeros(items, np.float32), np.zeros(items, np.int64)
    seen = torch.zeros(taste, directions), torch.zeros(items, directions)
    target = TargetView(0.0, nothing, none, 0.0, ItemScale(1.0, 0.0, 1.0), *seen)
    return start_message(views_message(source, target), None, 0.0)


def start_message(views: Message, line: Doubles | None, bias: float) -> Message:
    """What one device is asked: habits, or with their ``line`` taste; ``bias`` is its user's."""
    width = ITEM_TRAITS * (1 + USER_TRAITS)
    return {
        **views,
        "line": torch.zeros(width).double() if line is None else torch.from_numpy(line),
        "taste": torch.tensor(line is not None),
        "own_bias": torch.tensor(bias, dtype=torch.float32),
    }


def start_answer(message: Message, profile: Tensor, items: Tensor, values: Tensor) -> bytes:
    """Device: its products, from its source vector (1, k_s) and its ratings here."""
    rows = len(items)
    own = OverlapSums(
        *views_of(message),
        profile.expand(rows, -1),
        np.full(rows, float(message["own_bias"]), np.float32),
        items.numpy(),
        values.numpy(),
    )
    found = own.taste(message["line"].numpy()) if bool(message["taste"]) else own.habits()
    return encode({name: torch.from_numpy(part) for name, part in found._asdict().items()})


class RemoteStart:
    """The training overlap's sums, asked of its devices."""

    def __init__(self, exchange: Exchange, views: Message, biases: dict[int, float]) -> None:
        """``biases``: of each device of the overlap, its user's in the target."""
        self._exchange, self._views, self._biases = exchange, views, biases

    def habits(self) -> Products:
        return self._asked(None, ITEM_TRAITS * (1 + USER_TRAITS))

    def taste(self, line: Doubles) -> Products:
        return self._asked(line, self._views["source.directions"].shape[1] ** 2)

    def _asked(self, line: Doubles | None, width: int) -> Products:
        messages = {
            device: encode(start_message(self._views, line, bias))
            for device, bias in self._biases.items()
        }
        zeros = {"square": torch.zeros(width, width), "cross": torch.zeros(width)}
        read = _reader(contract_of({name: part.double() for name, part in zeros.items()}))
        counts = dict.fromkeys(messages, 0)
        uploads = self._exchange.gathered(messages, counts, read, LARGEST)
        square, cross = combine([*uploads.values()], frozenset()).gradients["products"]
        return Products(square.numpy(), cross.numpy())


def _reader(form: Contract) -> Callable[[int, bytes], Upload]:
    def read(device: int, answer: bytes) -> Upload:
        told = decode(answer, form)
        return Upload({"products": (told["square"], told["cross"])}, 0.0, 0)

    return read
