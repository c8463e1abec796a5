"""The start of a mapping (mapping_start.py) from secure sums over the devices of the overlap."""

from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
import torch
from torch import Tensor

from metaem_core.data.user_profile import ItemScale
from metaem_core.evaluation.metrics import Doubles
from metaem_core.federated.encoding import Message
from metaem_core.federated.private import Private
from metaem_core.federated.remote.exchange import Exchange
from metaem_core.federated.remote.secure_rounds import linked_round
from metaem_core.federated.secure.coding import Closing, Totals, bounded
from metaem_core.federated.secure.server import KeptSum
from metaem_core.methods.metaem.evidence import FOLDS, Products
from metaem_core.methods.metaem.habit import LINE_SIZE
from metaem_core.methods.metaem.mapping_start import OverlapSums, SourceView, TargetView

LARGEST = 2.0**16  # largest number in a device's products; larger ones are scaled down together
PROFILE, TASTE = 1, 2  # which sum
SQUARES_UNIT = 1024.0  # of squared numbers of ratings, which would exceed LARGEST


def views_message(source: SourceView, target: TargetView) -> dict[str, Tensor]:
    """Both views as one message."""
    scale = target.scale
    return {
        "source.centre": source.centre,
        "source.scale": source.scale,
        "source.directions": source.directions,
        "source.line": torch.from_numpy(source.line),
        "target.bias": torch.from_numpy(target.bias),
        "target.counts": torch.from_numpy(target.counts),
        "target.numbers": torch.tensor(
            [target.mean, target.damping, target.user_damping, *astuple(scale)],
            dtype=torch.float64,
        ),
        "target.directions": target.directions,
        "target.items": target.items,
        "target.line": torch.from_numpy(target.line),
    }


def views_of(message: Message) -> tuple[SourceView, TargetView]:
    """Both views out of a message of :func:`views_message`."""
    mean, damping, user_damping, *scale = message["target.numbers"].tolist()
    centre, deviation, seen = (message[f"source.{name}"] for name in SourceView._fields[:3])
    target = TargetView(
        mean,
        message["target.bias"].numpy(),
        message["target.counts"].numpy(),
        damping,
        user_damping,
        ItemScale(*scale),
        message["target.directions"],
        message["target.items"],
        message["target.line"].numpy(),
    )
    return SourceView(centre, deviation, seen, message["source.line"].numpy()), target


def example_views(items: int, size: int, taste: int, directions: int) -> Message:
    """A message of that form; ``size`` and ``taste`` are k_s and k."""
    nobody, line = torch.zeros(size), np.zeros(LINE_SIZE)
    source = SourceView(nobody, nobody.clone(), torch.zeros(taste, directions), line)
    nothing, none = np.zeros(items, np.float32), np.zeros(items, np.int64)
    seen = torch.zeros(taste, directions), torch.zeros(items, directions)
    target = TargetView(0.0, nothing, none, 0.0, 0.0, ItemScale(1.0, 0.0, 1.0), *seen, line)
    return start_message(views_message(source, target), None)


def start_message(views: Message, weights: Doubles | None) -> Message:
    """The request for the profile's products, or with its ``weights`` for the taste's."""
    known = torch.zeros(LINE_SIZE).double() if weights is None else torch.from_numpy(weights)
    return {**views, "line": known}


class StartUser(Private):
    """A device with a source vector and target ratings, which adds its products to a sum."""

    def __init__(
        self, number: int, vector: Tensor, items: Tensor, values: Tensor, taste: bool
    ) -> None:
        """Its ``number`` in the target decides its fold.

        Args:
            vector: of the source (1, k_s).
            taste: whether the taste's sum is requested.
        """
        self._number, self._vector = number, vector
        self._items, self._values, self._taste = items, values, taste

    def contribution(self, message: Message) -> tuple[list[Tensor], Totals]:
        """Its part of a sum."""
        source, target = views_of(message)
        items, values = self._items.numpy(), self._values.numpy()
        residuals = values - target.mean - target.bias[items]
        bias = residuals.sum() / (len(residuals) + target.user_damping)
        own = OverlapSums(
            source,
            target,
            self._vector.expand(len(items), -1),
            np.full(len(items), bias, np.float32),
            np.full(len(items), self._number),
            items,
            values,
        )
        weights = message["line"].numpy()
        products = own.taste_products(weights) if self._taste else own.profile_products()
        products.size[:, 2] /= SQUARES_UNIT
        shared, _ = bounded([torch.from_numpy(part) for part in products], LARGEST)
        return shared, Totals(0.0, 0.0, 0.0)

    def close(self, closing: Closing) -> None:
        """Nothing on the device is trained."""


def products_shapes(width: int) -> tuple[torch.Size, ...]:
    """Of Products with ``width`` columns in X."""
    return tuple(map(torch.Size, ((FOLDS, width, width), (FOLDS, width), (FOLDS, 3))))


class RemoteStart:
    """The sums over the training overlap, from its devices in secure rounds."""

    def __init__(self, exchange: Exchange, views: Message, users: Sequence[int]) -> None:
        """``users``: the devices of the overlap."""
        self._exchange, self._views, self._users = exchange, views, users

    def profile_products(self) -> Products:
        return self._round(None, PROFILE, LINE_SIZE)

    def taste_products(self, weights: Doubles) -> Products:
        return self._round(weights, TASTE, self._views["source.directions"].shape[1] ** 2)

    def _round(self, weights: Doubles | None, which: int, width: int) -> Products:
        server = KeptSum(products_shapes(width), start_message(self._views, weights))
        linked_round(server, self._exchange, self._users, LARGEST, which)
        products = Products(*(part.numpy() for part in server.sums))
        products.size[:, 2] *= SQUARES_UNIT
        return products
