"""What a curious server reads out of one device's upload, in each layout.

The server knows everything but the ratings: its own model, what it sent the device, and the
device's code. It looks for the items with a gradient, runs that code on a guess, one star above
every prediction, and compares: the gradient of an item's row is proportional to the error on it.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metaem_core.data.ratings import RatingScale
from metaem_core.federated.device import PrivateRatings, device_step
from metaem_core.federated.layouts import LayoutCodec, restricted
from metaem_core.federated.messages import Download
from metaem_core.federated.secure.coding import from_words
from metaem_core.federated.secure.primitives import Words
from metaem_core.models.forward import predict


class Reading(NamedTuple):
    """What the server makes of one upload."""

    suspicion: Tensor  # how surely each item is rated (n,)
    items: Tensor  # the items it names (q,)
    ratings: Tensor  # and what it takes them to be rated (q,)


class Leak(NamedTuple):
    """How much of it is right, over devices."""

    item_sets: float  # share of devices whose rated items it names, no more and no fewer
    ratings: float  # share of ratings of which it knows item and stars
    auc: float  # mean chance that a rated item is suspected more than one that is not
    auc_among_shown: float  # the same among the items it names, of devices that show unrated ones
    certain: float  # share of ratings that it suspects more than any such item

    @classmethod
    def of(
        cls,
        readings: list[Reading],
        truths: list[tuple[Tensor, Tensor]],
        scale: RatingScale,
    ) -> "Leak":
        """Compare with the devices' items and ratings."""
        exact, right, total, certain, areas, among = 0, 0, 0, 0, [], []
        for reading, (items, values) in zip(readings, truths, strict=True):
            exact += set(reading.items.tolist()) == set(items.tolist())
            stars = _rounded(reading.ratings, scale).tolist()
            named = dict(zip(reading.items.tolist(), stars, strict=True))
            right += sum(
                abs(named.get(i, np.inf) - v) < scale.step / 2
                for i, v in zip(items.tolist(), values.tolist(), strict=True)
            )
            total += len(items)
            areas.append(auc(reading.suspicion.numpy(), items.numpy()))
            real = np.isin(reading.items.numpy(), items.numpy())
            shown = reading.suspicion[reading.items].numpy()
            certain += (shown[real] > shown[~real].max(initial=0)).sum()
            if real.any() and not real.all():
                among.append(auc(shown, np.flatnonzero(real)))
        auc_among_shown = float(np.mean(among)) if among else 1.0
        areas_mean = float(np.mean(areas))
        return cls(exact / len(truths), right / total, areas_mean, auc_among_shown, certain / total)


def read_upload(received: Download, gradient: Tensor) -> Reading:
    """The attack on one device's gradient (n, k) of the item table that it ``received``."""
    suspicion = gradient.square().sum(1).sqrt()
    items = suspicion.nonzero().flatten()
    nobody = torch.zeros_like(items)
    predicted = predict(received, nobody, items)
    guess = device_step(received, PrivateRatings(nobody, items, predicted + 1))
    of_guess, seen = guess.gradients["common_items"][0][items], gradient[items]
    errors = (of_guess * seen).sum(1) / of_guess.square().sum(1)
    return Reading(suspicion, items, predicted + errors)


def read_message(
    download: Download, items: Tensor, values: Tensor, codec: LayoutCodec, scale: RatingScale
) -> Reading:
    """What the server reads when a device with these ratings answers in a layout.

    Where it names items, some may be virtual, and their ratings are those next to what the biases
    expect: an item with any other rating is a real one.
    """
    named = codec.names_items
    sent = restricted(download, items) if named else download
    received = codec.unpack(codec.pack(sent), download.relu_last)
    rows = torch.arange(len(items)) if named else items
    upload = device_step(received, PrivateRatings(torch.zeros_like(items), rows, values))
    reading = read_upload(received, codec.item_gradient(codec.answer(upload)))
    if not named:
        return reading
    shown = items[reading.items]
    suspicion = torch.zeros(len(download.common_items), dtype=values.dtype)
    expected = _rounded(_without_taste(download, shown), scale)
    suspicion[shown] = 1 + (reading.ratings - expected.clamp(scale.low, scale.high)).abs()
    return Reading(suspicion, shown, reading.ratings)


def _rounded(ratings: Tensor, scale: RatingScale) -> Tensor:
    return scale.low + scale.step * torch.round((ratings - scale.low) / scale.step)


def _without_taste(download: Download, items: Tensor) -> Tensor:
    vectors = download.user_vectors.clone()
    vectors[:, : download.item_tower[-1].shape[-1]] = 0
    plain = replace(download, user_vectors=vectors)
    return predict(plain, torch.zeros_like(items), items)


def read_masked(download: Download, words: Words) -> Reading:
    """The same attack on a masked gradient of V^c, read as if no masks were on it."""
    shape = download.common_items.shape
    gradient = torch.from_numpy(from_words(words[: shape.numel()])).view(shape)
    return read_upload(download, gradient.to(download.common_items.dtype))


def popularity_prior(counts: NDArray[np.int64], scale: RatingScale, size: int) -> Reading:
    """What anyone may guess who knows that a device has ``size`` ratings: the most rated items.

    Every one is given the top of the scale.
    """
    suspicion = torch.from_numpy(counts.astype(np.float64))
    items = suspicion.argsort(descending=True, stable=True)[:size]
    return Reading(suspicion, items, torch.full((size,), scale.high))


def auc(scores: NDArray[np.floating], positives: NDArray[np.int64]) -> float:
    """Area under the ROC curve of ``scores`` (n,) for the items ``positives``; ties count half."""
    _, rank, count = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2
    others = len(scores) - len(positives)
    below = middle[rank[positives]].sum() - len(positives) * (len(positives) + 1) / 2
    return float(below / (len(positives) * others))
