"""Where methods put users in the target domain, next to what these users' ratings say."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from metaem_core.models.fold_in import Rated, fold_in, private_view
from metaem_core.models.mapping import map_users
from tasks.models.data import Domain
from tasks.models.factors import read_domain_model
from tasks.models.metaem import from_lists, read_mapping, read_model, read_user_vectors
from tasks.store.artifacts import ArtifactRef, Store


@dataclass(frozen=True)
class Drawn:
    """Training or cold users (B,): who they are, and their target ratings."""

    ids: pl.Series
    source: Tensor  # indices in the source (B,)
    rated: Rated


@dataclass(frozen=True)
class View:
    """A method's vectors of drawn users, and of the items that they rated."""

    transformed: Tensor  # (B, k)
    own: Tensor  # training users' target vectors (B, k); of cold users none (0, k)
    seen: Tensor  # the item of each rating, as its user is given it (R, k)
    left: Tensor  # what mean and biases leave of each rating (R,)


Views = Callable[[Drawn, bool], View]  # drawn users, and whether they trained


def draw(source: Domain, target: Domain, ids: pl.Series, users: int, seed: int) -> Drawn:
    """At most so many of the users, by seed, with all their target ratings."""
    order = np.random.default_rng(seed).permutation(len(ids))
    chosen = ids.gather(np.sort(order[:users]))
    ours = target.users(chosen)
    row = np.full(target.ratings.n_users, -1)
    row[ours] = np.arange(len(ours))
    ratings = target.ratings.of_users(row >= 0)
    rated = Rated(
        *(torch.from_numpy(a) for a in (ours, row[ratings.users], ratings.items, ratings.values))
    )
    return Drawn(chosen, torch.from_numpy(source.users(chosen)), rated)


def metaem_views(
    store: Store, source_model: ArtifactRef, target_model: ArtifactRef, mapping: ArtifactRef
) -> Views:
    """MetaEM's: every user is given private items, made from their own vector."""
    trained = read_mapping(store, mapping)
    vectors, model = read_user_vectors(store, source_model), read_model(store, target_model)
    k = model.user_embeddings.shape[1]
    centred = model.user_profiles.shape[1] > 0

    def view(drawn: Drawn, training: bool) -> View:
        mapped = map_users(trained, vectors[drawn.source])
        users = drawn.rated.users if training else drawn.rated.users[:0]
        own = model.embed_users(users)[:, :k]
        raw = model.user_embeddings[users] if model.meta_reads_raw else own
        private = model.private_items(raw if training else mapped)
        seen = private_view(model, private, drawn.rated)
        return View(mapped[:, :k], own, seen, drawn.rated.residuals(model.item_offsets, centred))

    return view


def factor_views(store: Store, transfer: ArtifactRef) -> Views:
    """A method that leaves the target domain as it was trained: everyone is given its items."""
    users = store.read_frame(transfer, "users.parquet")
    (target_model,) = store.manifest(transfer).provenance.inputs["target_model"]
    store.verify(target_model)
    model = read_domain_model(store, target_model).flattened()
    k = model.items.shape[1]
    mapped = from_lists(users["vector"])[:, :k]
    row = {user: number for number, user in enumerate(users["user_id"])}

    def view(drawn: Drawn, training: bool) -> View:
        rows = torch.tensor([row[user] for user in drawn.ids])
        own = drawn.rated.users if training else drawn.rated.users[:0]
        left = drawn.rated.residuals(model.offsets, model.centred)
        return View(mapped[rows], model.user_vectors(own), model.items[drawn.rated.items], left)

    return view


def in_hindsight(view: View, drawn: Drawn, damping: float) -> Tensor:
    """The vectors (B, k) that the drawn users' ratings ask for."""
    return fold_in(view.seen, view.left, drawn.rated.owner, len(drawn.ids), damping)
