"""Artifacts of the filter and split stages as what the core works with."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from metaem_core.data.pair import DomainPair, Queries
from metaem_core.data.ratings import Ints, Ratings
from tasks.store.artifacts import ArtifactRef, Store

if TYPE_CHECKING:
    from torch import Tensor

    from metaem_core.data.choices import Choices


@dataclass(frozen=True)
class Domain:
    """A filtered domain; position in the ids is the dense index."""

    ratings: Ratings
    user_ids: pl.Series  # (n_users,) ascending
    item_ids: pl.Series  # (n_items,) ascending

    def users(self, ids: pl.Series) -> Ints:
        """Dense indices (B,) of user ids; raises ValueError for a user of no rating here."""
        all_ids, wanted = self.user_ids.to_numpy(), ids.to_numpy()
        indices = np.minimum(np.searchsorted(all_ids, wanted), len(all_ids) - 1)
        if (unknown := all_ids[indices] != wanted).any():
            raise ValueError(f"{unknown.sum()} of {len(wanted)} users are not in the domain")
        return indices.astype(np.int64)


def read_domain(store: Store, ref: ArtifactRef) -> Domain:
    """A filter artifact."""
    frame = store.read_frame(ref, "ratings.parquet")
    users = store.read_frame(ref, "users.parquet")["user_id"]
    items = store.read_frame(ref, "items.parquet")["item_id"]
    ratings = Ratings(
        users=frame["user"].to_numpy().astype(np.int64),
        items=frame["item"].to_numpy().astype(np.int64),
        values=frame["rating"].to_numpy().astype(np.float32),
        n_users=len(users),
        n_items=len(items),
    )
    return Domain(ratings, users, items)


@dataclass(frozen=True)
class Split:
    """User ids by role."""

    train: pl.Series
    validation: pl.Series
    cold: pl.Series

    @property
    def shared(self) -> pl.Series:
        """All users of both domains, ascending."""
        return pl.concat([self.train, self.validation, self.cold]).sort()


def read_split(store: Store, ref: ArtifactRef) -> Split:
    """A split artifact."""
    frame = store.read_frame(ref, "split.parquet")
    train, validation, cold = (
        frame.filter(pl.col("role") == role)["user_id"] for role in ("train", "validation", "cold")
    )
    return Split(train, validation, cold)


def training_target(target: Domain, split: Split) -> Ratings:
    """The target's ratings without any of a validation or cold user."""
    keep: NDArray[np.bool_] = np.ones(target.ratings.n_users, dtype=bool)
    keep[target.users(split.validation)] = False
    keep[target.users(split.cold)] = False
    return target.ratings.of_users(keep)


def training_ratings(store: Store, domain: Domain, split: ArtifactRef | None) -> Ratings:
    """What a domain is trained on; ``split`` removes the held-out users' ratings from a target."""
    return domain.ratings if split is None else training_target(domain, read_split(store, split))


class SplitPair(NamedTuple):
    """Two domains and who of their shared users has which role."""

    source: Domain
    target: Domain
    roles: Split

    @property
    def pair(self) -> DomainPair:
        """What any method may learn from."""
        return DomainPair(
            source=self.source.ratings,
            target=training_target(self.target, self.roles),
            train_source=self.source.users(self.roles.train),
            train_target=self.target.users(self.roles.train),
        )

    def held_out(self, ids: pl.Series) -> Queries:
        """These users' target ratings, with the users by their source index."""
        source_of = np.full(self.target.ratings.n_users, -1)
        source_of[self.target.users(ids)] = self.source.users(ids)
        ratings = self.target.ratings.of_users(source_of >= 0)
        return Queries(source_of[ratings.users], ratings.items, ratings.values)

    def held_out_choices(
        self, ids: pl.Series, threshold: float | None = None
    ) -> "tuple[Tensor, Choices]":
        """These users' source indices (B,), ascending by id, and their choices in the target."""
        import torch

        from metaem_core.data.choices import Choices

        chosen = Choices.of(self.target.ratings, threshold)
        mine, theirs = self.source.users(ids), self.target.users(ids)
        return torch.from_numpy(mine), chosen.of_users(torch.from_numpy(theirs))


def read_pair(
    store: Store, source: ArtifactRef, target: ArtifactRef, split: ArtifactRef
) -> SplitPair:
    """Two filter artifacts and the split of their users."""
    return SplitPair(
        read_domain(store, source), read_domain(store, target), read_split(store, split)
    )
