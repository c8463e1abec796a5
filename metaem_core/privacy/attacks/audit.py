"""Every layout's uploads attacked, beside what popularity alone tells."""

from collections.abc import Iterator
from copy import deepcopy
from typing import NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from metaem_core.config.pretrain import OpenLayout
from metaem_core.data.ratings import Ratings, RatingScale
from metaem_core.federated.bytes import VIRTUAL_RATINGS
from metaem_core.federated.layouts import LayoutCodec
from metaem_core.federated.messages import Download
from metaem_core.federated.secure.pretraining import PretrainDevice, SecureServer
from metaem_core.federated.secure.server import secure_round
from metaem_core.federated.secure.simulation import in_process
from metaem_core.federated.server import ChainRule
from metaem_core.federated.simulation import DeviceStore
from metaem_core.federated.virtual_ratings import with_virtual_ratings
from metaem_core.models.metaem import DomainModel
from metaem_core.privacy.attacks.reconstruction import (
    Leak,
    Reading,
    popularity_prior,
    read_masked,
    read_message,
)
from metaem_core.training.optimizers import NetworkAdam, RowNewton

PRIOR = "popularity"
NOISE = 0.02  # of an AUC over a few hundred devices


class Audit(NamedTuple):
    """What a curious server learns of devices from one kind of evidence."""

    evidence: str  # a layout's uploads, a sum of them, or popularity alone
    leak: Leak

    def in_words(self, prior: Leak) -> str:
        """Against ``prior``, what popularity alone tells."""
        if self.evidence == PRIOR:
            return "the guess without an upload"
        if self.leak.ratings > 0.99 and self.leak.item_sets < 0.5:
            known, apart = f"{self.leak.certain:.0%}", f"{self.leak.auc_among_shown:.2f}"
            return f"all ratings, {known} surely; others among virtual ones (AUC {apart})"
        if self.leak.ratings > 0.5:
            return f"items and {'all' if self.leak.ratings > 0.99 else 'most'} ratings"
        if self.leak.auc > prior.auc + NOISE or self.leak.ratings > prior.ratings + NOISE:
            return "more than popularity tells"
        return "no more than popularity tells"


class Attacks:
    """One upload of each of some devices of a trained domain, and its server's look at it."""

    def __init__(
        self, model: DomainModel, ratings: Ratings, scale: RatingScale, devices: int, seed: int
    ) -> None:
        """``devices`` of those with ratings are drawn; all of them, where there are fewer."""
        self.evidencel, self.ratings, self.scale, self.seed = model, ratings, scale, seed
        self._draw = np.random.default_rng(seed)
        self._raters = np.unique(ratings.users)
        size = min(devices, len(self._raters))
        self.devices = np.sort(self._draw.choice(self._raters, size, replace=False)).tolist()
        self._own = DeviceStore(ratings, torch.float32)
        self._truths = [self._own.of_device(device) for device in self.devices]
        self._rounding = torch.Generator().manual_seed(seed)
        self._counts = np.bincount(ratings.items, minlength=ratings.n_items)
        with torch.no_grad():
            vectors = model.embed_users(torch.tensor(self.devices))
            everything = torch.arange(ratings.n_items)
            self._sent = [
                Download.of(model, vector[None], ChainRule.trained, everything)
                for vector in vectors
            ]

    def audits(self, cohort: int) -> Iterator[Audit]:
        """Layout by layout, last the guess that needs no upload.

        In secure rounds there are two things to look at: the upload, and the sum over the device's
        ``cohort``.
        """
        for layout in get_args(OpenLayout):
            yield self._judged(layout, self.opened(layout, self._truths))
        yield self._judged(f"rows, {VIRTUAL_RATINGS} more for each", self.among_virtual_ratings())
        yield self._judged("secure", self.masked())
        size = min(cohort, len(self._raters))
        yield self._judged(f"secure, one sum of {size:,}", self.summed(size))
        sizes = [len(items) for items, _ in self._truths]
        guesses = [popularity_prior(self._counts, self.scale, size) for size in sizes]
        yield self._judged(PRIOR, guesses)

    def opened(self, layout: OpenLayout, answers: list[tuple[Tensor, Tensor]]) -> list[Reading]:
        """What devices with these items and ratings tell in a layout."""
        codec = LayoutCodec(layout, self._rounding)
        both = zip(self._sent, answers, strict=True)
        return [read_message(sent, *answer, codec, self.scale) for sent, answer in both]

    def among_virtual_ratings(self) -> list[Reading]:
        """``rows`` where each device shows items that it did not rate too."""
        shown = with_virtual_ratings(self.ratings, VIRTUAL_RATINGS, self.seed, self.scale)
        padded = DeviceStore(shown, torch.float32)
        return self.opened("rows", [padded.of_device(device) for device in self.devices])

    def masked(self) -> list[Reading]:
        """What each sends up in a secure round of them all; the model is not changed."""
        model = deepcopy(self.evidencel)
        users, items = (
            RowNewton(table, 1.0, 1.0, torch.ones(len(table)), torch.ones(len(table)))
            for table in (model.user_embeddings, model.common_items)
        )
        nets = NetworkAdam(model.networks, 0.0, 0.0)
        cohort = [
            PretrainDevice(device, model, users, *truth)
            for device, truth in zip(self.devices, self._truths, strict=True)
        ]
        server = SecureServer(model, items, nets, users)
        vectors = secure_round(server, in_process(server, cohort), len(cohort)).vectors
        return [read_masked(sent, vectors[place]) for place, sent in enumerate(self._sent)]

    def summed(self, size: int) -> list[Reading]:
        """Of one sum over ``size`` devices: the most popular of the items that it touches."""
        readings = []
        for device, (items, _) in zip(self.devices, self._truths, strict=True):
            others = self._draw.choice(self._raters[self._raters != device], size - 1, False)
            _, positions = self._own.positions(torch.from_numpy(np.append(others, device)))
            touched = np.zeros(self.ratings.n_items, np.bool_)
            touched[self._own.items[positions]] = True
            counts = self._counts * touched
            readings.append(popularity_prior(counts, self.scale, len(items)))
        return readings

    def _judged(self, evidence: str, readings: list[Reading]) -> Audit:
        return Audit(evidence, Leak.of(readings, self._truths, self.scale))
