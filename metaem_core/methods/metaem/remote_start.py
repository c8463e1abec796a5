"""The start of a mapping from sums that devices tell over a link (methods/transfer_start.py)."""

from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
import torch
from torch import Tensor

from metaem_core.data.user_profile import ITEM_TRAITS, USER_TRAITS, ItemScale
from metaem_core.evaluation.metrics import Doubles
from metaem_core.federated.private import Private
from metaem_core.federated.remote.rounds import Exchange
from metaem_core.federated.secure.link import linked_round
from metaem_core.federated.secure.rounds import Closing, Totals, bounded
from metaem_core.federated.secure.sums import KeptSum
from metaem_core.federated.wire import Message
from metaem_core.methods.metaem.transfer_start import (
    OverlapSums,
    Products,
    SourceView,
    TargetView,
)

LARGEST = 2.0**16  # number in a device's products; larger ones shrink as a whole
HABITS, TASTE = 1, 2  # which sum
WIDTH = ITEM_TRAITS * (1 + USER_TRAITS)


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
            [target.mean, target.damping, target.user_damping, *astuple(scale)],
            dtype=torch.float64,
        ),
        "target.directions": target.directions,
        "target.items": target.items,
    }


def views_of(message: Message) -> tuple[SourceView, TargetView]:
    """What :func:`views_message` told."""
    mean, damping, user_damping, *scale = message["target.numbers"].tolist()
    source = (message[f"source.{name}"] for name in SourceView._fields)
    target = TargetView(
        mean,
        message["target.bias"].numpy(),
        message["target.counts"].numpy(),
        damping,
        user_damping,
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
    target = TargetView(0.0, nothing, none, 0.0, 0.0, ItemScale(1.0, 0.0, 1.0), *seen)
    return start_message(views_message(source, target), None)


def start_message(views: Message, line: Doubles | None) -> Message:
    """What devices are asked: habits, or with their ``line`` taste."""
    told = torch.zeros(WIDTH).double() if line is None else torch.from_numpy(line)
    return {**views, "line": told}


class StartUser(Private):
    """A device with a source vector and target ratings, of which it adds products."""

    def __init__(self, profile: Tensor, items: Tensor, values: Tensor, taste: bool) -> None:
        """``profile`` (1, k_s); ``taste``: which of the two sums is asked for."""
        self._profile, self._items, self._values, self._taste = profile, items, values, taste

    def contribution(self, message: Message) -> tuple[list[Tensor], Totals]:
        """Its part of a sum."""
        source, target = views_of(message)
        items, values = self._items.numpy(), self._values.numpy()
        left = values - target.mean - target.bias[items]
        bias = left.sum() / (len(left) + target.user_damping)
        own = OverlapSums(
            source,
            target,
            self._profile.expand(len(items), -1),
            np.full(len(items), bias, np.float32),
            items,
            values,
        )
        found = own.taste(message["line"].numpy()) if self._taste else own.habits()
        shared, _ = bounded([torch.from_numpy(part) for part in found], LARGEST)
        return shared, Totals(0.0, 0.0, 0.0)

    def close(self, closing: Closing) -> None:
        """Nothing of a device is trained here."""


def products_shapes(width: int) -> tuple[torch.Size, ...]:
    """Of what a device adds to a sum of that many products."""
    return torch.Size((width, width)), torch.Size((width,))


class RemoteStart:
    """The training overlap's sums, asked of its devices in secure rounds."""

    def __init__(self, exchange: Exchange, views: Message, users: Sequence[int]) -> None:
        """``users``: the devices of the overlap."""
        self._exchange, self._views, self._users = exchange, views, users

    def habits(self) -> Products:
        return self._asked(None, HABITS, WIDTH)

    def taste(self, line: Doubles) -> Products:
        return self._asked(line, TASTE, self._views["source.directions"].shape[1] ** 2)

    def _asked(self, line: Doubles | None, which: int, width: int) -> Products:
        server = KeptSum(products_shapes(width), start_message(self._views, line))
        linked_round(server, self._exchange, self._users, LARGEST, which)
        square, cross = (part.numpy() for part in server.found)
        return Products(square, cross)
