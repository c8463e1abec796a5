"""The reconstruction attacks, run on a trained domain."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from typing import NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metaem_core.bias import fitted_biases
from metaem_core.federated.costs import PSEUDO_ITEMS
from metaem_core.federated.modes import Layout
from metaem_core.federated.optimizers import NetworkAdam, RowNewton
from metaem_core.federated.payloads import payload_of
from metaem_core.federated.protocol import Download
from metaem_core.federated.pseudo_items import with_pseudo_items
from metaem_core.federated.secure_aggregation import Words
from metaem_core.federated.secure_loop import SecureLoop
from metaem_core.federated.secure_rounds import HeldUser, SecureServer
from metaem_core.federated.simulation import DeviceStore
from metaem_core.methods.private_biases import SimulatedSums, domain_sum, private_levels
from metaem_core.methods.private_config import PrivateConfig
from metaem_core.methods.private_metaem import releases
from metaem_core.models.domain import DomainModel
from metaem_core.privacy.membership import Canaries, Membership, inferred
from metaem_core.privacy.reconstruction import (
    Leak,
    Reading,
    popularity_prior,
    read_masked,
    read_message,
)
from metaem_core.ratings import Ints, RatingScale
from tasks.artifacts import ArtifactRef, Store
from tasks.domains import read_domain
from tasks.models import read_model

TRAINED = frozenset({"user_vectors", "private_items", "common_items", "item_tower"})
CANARIES = 400
PRIOR = "popularity"
NOISE = 0.02  # of an AUC over a few hundred devices


class Audit(NamedTuple):
    """What a curious server learns of devices in one mode."""

    mode: str
    leak: Leak

    def in_words(self, prior: Leak) -> str:
        """Against ``prior``, what popularity alone tells."""
        if self.mode == PRIOR:
            return "the guess without an upload"
        if self.leak.ratings > 0.99 and self.leak.item_sets < 0.5:
            return "all ratings, among made-up ones"
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
    cohort: int,
    seed: int,
) -> list[Audit]:
    """Attack one upload of each of ``devices`` devices of a pretrained domain, mode by mode.

    In secure rounds there are two things to look at: the upload, and the sum over the device's
    ``cohort``. The last row is the guess that needs neither.
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
        layout: partial(read_message, payload=payload_of(layout, rounding))
        for layout in get_args(Layout)
    }
    padded = DeviceStore(with_pseudo_items(ratings, PSEUDO_ITEMS, seed, scale), torch.float32)
    with_fakes = iter([padded.of_device(device) for device in chosen.tolist()])
    rows = payload_of("rows", rounding)
    attacks[f"rows, {PSEUDO_ITEMS} more for each"] = lambda download, items, values: read_message(
        download, *next(with_fakes), rows
    )
    masked = iter(_masked(trained, own, chosen.tolist()))
    attacks["secure"] = lambda download, items, values: read_masked(download, next(masked))
    counts = np.bincount(ratings.items, minlength=ratings.n_items)
    size = min(cohort, len(raters))
    sums = iter(_touched(own, ratings.n_items, chosen, raters, size, draw))
    attacks[f"secure, one sum of {size:,}"] = lambda download, items, values: popularity_prior(
        counts * next(sums), scale
    )(len(items))
    prior = popularity_prior(counts, scale)
    attacks[PRIOR] = lambda download, items, values: prior(len(items))
    found = []
    for mode, attack in attacks.items():
        readings = [attack(d, *truth) for d, truth in zip(sent, truths, strict=True)]
        found.append(Audit(mode, Leak.of(readings, truths, scale)))
    return found


def membership(
    store: Store, domain: ArtifactRef, scale: RatingScale, seed: int, private: PrivateConfig | None
) -> Membership:
    """What a domain's item biases tell of who is among the users.

    Every mode publishes them; with ``private`` those are attacked that this domain would publish if
    it were the target of a private run.
    """
    ratings = read_domain(store, domain).ratings
    size = round(len(ratings) / len(np.unique(ratings.users)))
    canaries = Canaries.drawn(CANARIES, min(size, ratings.n_items), ratings.n_items, scale, seed)
    among = canaries.among(ratings)
    if private is not None:
        sums = SimulatedSums(partial(domain_sum, among, scale), releases(private, "target", among))
        return inferred(canaries, private_levels(sums, among.n_items).astype(np.float32))
    biases = fitted_biases(among)
    return inferred(canaries, biases.item + biases.mean)


def _touched(
    own: DeviceStore, n_items: int, chosen: Ints, raters: Ints, size: int, draw: np.random.Generator
) -> Iterator[NDArray[np.bool_]]:
    """For each device in turn, which items a cohort of ``size`` that it is in has rated (n,)."""
    for device in chosen.tolist():
        others = draw.choice(raters[raters != device], size - 1, replace=False)
        _, positions = own.positions(torch.from_numpy(np.append(others, device)))
        touched = np.zeros(n_items, np.bool_)
        touched[own.items[positions]] = True
        yield touched


def _masked(model: DomainModel, own: DeviceStore, devices: list[int]) -> list[Words]:
    """What each device sends up in a secure round of them all; the model given is not changed."""
    copy = deepcopy(model)
    tables = (copy.user_embeddings, copy.common_items)
    users, items = (
        RowNewton(table, 1.0, 1.0, torch.ones(len(table)), torch.ones(len(table)))
        for table in tables
    )
    nets = NetworkAdam(copy.networks, 0.0, 0.0)
    held = {device: HeldUser(device, copy, users, *own.of_device(device)) for device in devices}
    loop = SecureLoop(SecureServer(copy, items, nets, users), held)
    loop.round(devices)
    return [loop.vectors[device] for device in devices]
