"""The start of a mapping (mapping_start.py) from secure sums over the devices of the overlap."""

from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
import torch
from torch import Tensor

from metaem_core.data.user_profile import ITEM_FEATURES, PROFILE_SIZE, ItemScale
from metaem_core.evaluation.metrics import Doubles
from metaem_core.federated.encoding import Message
from metaem_core.federated.private import Private
from metaem_core.federated.remote.exchange import Exchange
from metaem_core.federated.remote.secure_rounds import linked_round
from metaem_core.federated.secure.coding import Closing, Totals, bounded
from metaem_core.federated.secure.server import KeptSum
from metaem_core.methods.metaem.mapping_start import (
    OverlapSums,
    Products,
    SourceView,
    TargetView,
)

LARGEST = 2.0**16  # largest number in a device's products; larger ones are scaled down together
PROFILE, TASTE = 1, 2  # which sum
PROFILE_PRODUCTS = ITEM_FEATURES * (1 + PROFILE_SIZE)


def views_message(source: SourceView, target: TargetView) -> dict[str, Tensor]:
    """Both views as one message."""
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
    """Both views out of a message of :func:`views_message`."""
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
    """A message of that form; ``size`` and ``taste`` are k_s and k."""
    nobody = torch.zeros(size)
    source = SourceView(nobody, nobody.clone(), torch.zeros(taste, directions))
    nothing, none = np.zeros(items, np.float32), np.zeros(items, np.int64)
    seen = torch.zeros(taste, directions), torch.zeros(items, directions)
    target = TargetView(0.0, nothing, none, 0.0, 0.0, ItemScale(1.0, 0.0, 1.0), *seen)
    return start_message(views_message(source, target), None)


def start_message(views: Message, weights: Doubles | None) -> Message:
    """The request for the profile's products, or with its ``weights`` for the taste's."""
    known = torch.zeros(PROFILE_PRODUCTS).double() if weights is None else torch.from_numpy(weights)
    return {**views, "line": known}


class StartUser(Private):
    """A device with a source vector and target ratings, which adds its products to a sum."""

    def __init__(self, vector: Tensor, items: Tensor, values: Tensor, taste: bool) -> None:
        """Source ``vector`` (1, k_s); ``taste``: whether the taste's sum is requested."""
        self._vector, self._items, self._values, self._taste = vector, items, values, taste

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
            items,
            values,
        )
        weights = message["line"].numpy()
        products = own.taste_products(weights) if self._taste else own.profile_products()
        shared, _ = bounded([torch.from_numpy(part) for part in products], LARGEST)
        return shared, Totals(0.0, 0.0, 0.0)

    def close(self, closing: Closing) -> None:
        """Nothing on the device is trained."""


def products_shapes(width: int) -> tuple[torch.Size, ...]:
    """Shapes of X'X and X'y with ``width`` columns in X."""
    return torch.Size((width, width)), torch.Size((width,))


class RemoteStart:
    """The sums over the training overlap, from its devices in secure rounds."""

    def __init__(self, exchange: Exchange, views: Message, users: Sequence[int]) -> None:
        """``users``: the devices of the overlap."""
        self._exchange, self._views, self._users = exchange, views, users

    def profile_products(self) -> Products:
        return self._round(None, PROFILE, PROFILE_PRODUCTS)

    def taste_products(self, weights: Doubles) -> Products:
        return self._round(weights, TASTE, self._views["source.directions"].shape[1] ** 2)

    def _round(self, weights: Doubles | None, which: int, width: int) -> Products:
        server = KeptSum(products_shapes(width), start_message(self._views, weights))
        linked_round(server, self._exchange, self._users, LARGEST, which)
        square, cross = (part.numpy() for part in server.sums)
        return Products(square, cross)
