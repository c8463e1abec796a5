"""The reconstruction attacks, run on a trained domain."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from metaem_core.federated.modes import Mode
from metaem_core.federated.payloads import payload_of
from metaem_core.federated.protocol import Download
from metaem_core.federated.simulation import DeviceStore
from metaem_core.privacy.reconstruction import (
    Leak,
    Reading,
    popularity_prior,
    read_message,
)
from metaem_core.ratings import RatingScale
from tasks.artifacts import ArtifactRef, Store
from tasks.domains import read_domain
from tasks.models import read_model

TRAINED = frozenset({"user_vectors", "private_items", "common_items", "item_tower"})
NOISE = 0.02  # of an AUC over a few hundred devices


class Audit(NamedTuple):
    """What a curious server learns of devices in one mode."""

    mode: str
    leak: Leak

    def in_words(self, prior: Leak) -> str:
        """Against ``prior``, what popularity alone tells."""
        if self.leak == prior:
            return "the guess without an upload"
        if self.leak.ratings > 0.5:
            return f"items and {'all' if self.leak.ratings > 0.99 else 'most'} ratings"
        if self.leak.auc > prior.auc + NOISE or self.leak.ratings > prior.ratings + NOISE:
            return "more than popularity tells"
        return "no more than popularity tells"


def audit(
    store: Store,
    domain: ArtifactRef,
    model: ArtifactRef,
    scale: RatingScale,
    devices: int,
    seed: int,
) -> list[Audit]:
    """Attack one upload of each of ``devices`` devices of a pretrained domain, mode by mode.

    The last row is the guess that needs no upload.
    """
    ratings = read_domain(store, domain).ratings
    trained = read_model(store, model)
    draw = np.random.default_rng(seed)
    raters = np.unique(ratings.users)
    chosen = np.sort(draw.choice(raters, min(devices, len(raters)), replace=False))
    own = DeviceStore(ratings, torch.float32)
    truths = [own.of_device(device) for device in chosen.tolist()]
    everything = torch.arange(ratings.n_items)
    with torch.no_grad():
        vectors = trained.embed_users(torch.from_numpy(chosen))
        sent = [trained.download(vector[None], TRAINED, everything) for vector in vectors]
    rounding = torch.Generator().manual_seed(seed)

    attacks: dict[str, Callable[[Download, Tensor, Tensor], Reading]] = {
        mode: partial(read_message, payload=payload_of(mode, rounding)) for mode in get_args(Mode)
    }
    prior = popularity_prior(np.bincount(ratings.items, minlength=ratings.n_items), scale)
    attacks["popularity"] = lambda download, items, values: prior(len(items))
    found = []
    for mode, attack in attacks.items():
        readings = [attack(d, *truth) for d, truth in zip(sent, truths, strict=True)]
        found.append(Audit(mode, Leak.of(readings, truths, scale)))
    return found
