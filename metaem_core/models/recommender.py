"""Recommendations for users on whom no domain was trained, from their source ratings.

Unlike in training, the ratings do not stay on-device: whoever recommends reads the history.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metaem_core.data.ratings import Floats, Ints, Ratings
from metaem_core.data.user_profile import ProfileStatistics
from metaem_core.models.fold_in import Rated, fold_in, private_view
from metaem_core.models.forward import BLOCK
from metaem_core.models.mapping import map_users
from metaem_core.models.metaem import DomainModel
from metaem_core.models.mlp import Parameters, mlp

SWEEPS = 4  # alternations: private items follow from the user vector, and it from them
AT_ONCE = 1 << 15  # ratings whose private items are held in memory, a kilobyte each


@dataclass(frozen=True)
class Recommender:
    """Both trained domains without their users, and f_theta between them."""

    source: DomainModel
    statistics: ProfileStatistics  # of the source
    target: DomainModel
    mapping: Parameters
    damping: float  # lambda of Eq. 10 for rows of U

    def __post_init__(self) -> None:
        if not self.source.user_profiles.shape[1]:
            raise ValueError("a domain trained uncentred has no profile to give a new user")
        if self.source.meta_reads_raw:
            raise ValueError(
                "a meta-network that reads raw vectors (Eq. 3 as printed) has no fold-in"
            )

    @torch.inference_mode()
    def source_vectors(self, histories: Ratings) -> Tensor:
        """The source vectors (B, k_s) that training would have given these users.

        Taste is the ``MLP_user(u)`` with the least ``sum e^2 + sqrt(n) lambda |u|^2`` over the
        user's ``n`` ratings, the domain fixed: the minimum that RowNewton approaches. The user
        profile follows it. A user without ratings gets the average user's vector.

        Args:
            histories: ratings of B users, of the source's items.
        """
        bias = self.statistics.user_bias(histories)
        rated = _rated(histories)
        residuals = rated.values - self.source.item_offsets[rated.items]
        residuals -= torch.from_numpy(bias)[rated.owner]
        counts = torch.bincount(rated.owner, minlength=histories.n_users)
        damping = self.damping * counts.clamp_min(1).sqrt().unsqueeze(1)
        taste = torch.zeros(histories.n_users, self.source.user_embeddings.shape[1])
        for _ in range(SWEEPS):
            seen = private_view(self.source, self.source.private_items(taste), rated)
            taste = fold_in(seen, residuals, rated.owner, histories.n_users, damping)
        return torch.cat([taste, torch.from_numpy(self.statistics.profiles(histories, bias))], 1)

    @torch.inference_mode()
    def target_vectors(self, histories: Ratings) -> Tensor:
        """``u_hat^t`` of every history (B, k), Eq. 11."""
        return map_users(self.mapping, self.source_vectors(histories))

    @torch.inference_mode()
    def rate_all(self, vector: Tensor) -> Floats:
        """Eq. 13 for one user's ``vector`` (k,) and every item of the target (n,), not clipped."""
        target = self.target
        private = target.private_items(vector[None])[0]
        size = target.user_embeddings.shape[1]
        taste = target.weighed(vector[None])[0, :size]
        *hidden, weight, bias = target.item_tower
        rated = target.item_offsets + target.item_features @ vector[size:]
        if target.relu_last:
            hidden, weight, bias = [*target.item_tower], torch.eye(size), torch.zeros(size)
        pull, constant = taste @ weight, taste @ bias  # the last layer is part of the user's side
        for items, out in zip(
            torch.split(target.common_items, BLOCK), torch.split(rated, BLOCK), strict=True
        ):
            out.add_(mlp(tuple(hidden), items @ private, relu_last=True) @ pull).add_(constant)
        return np.asarray(rated.numpy(), np.float32)

    def top(self, histories: Ratings, seen: list[Ints], count: int) -> "Iterator[Top]":
        """The ``count`` best rated items of every user, without those in ``seen`` (B lists)."""
        vectors = (vector for part in _parts(histories) for vector in self.target_vectors(part))
        for vector, known in zip(vectors, seen, strict=True):
            rated = self.rate_all(vector)
            rated[known] = -np.inf
            yield _best(rated, min(count, len(rated) - len(np.unique(known))))

    def pulls(self, history: Ratings, items: Ints) -> NDArray[np.float32]:
        """By how much each rating of one user's ``history`` raises predictions of ``items`` (h, B).

        The difference to the same history without it: bias, profile and taste are refitted.
        """
        size = len(history)
        whole = self._rated(history, items[None])
        parts = np.array_split(np.arange(size), -(-size * size // AT_ONCE) or 1)
        without = [
            self._rated(_without(history, part), np.tile(items, (len(part), 1))) for part in parts
        ]
        return np.asarray(whole - np.concatenate(without), np.float32)

    def rate(self, histories: Ratings, items: Ints) -> Floats:
        """Eq. 13 for every user's own row of ``items`` (B, T), not clipped."""
        parts = [*_parts(histories, items.shape[1])]
        bounds = np.cumsum([part.n_users for part in parts])[:-1]
        rows = np.split(items, bounds)
        return np.concatenate([self._rated(*each) for each in zip(parts, rows, strict=True)])

    @torch.inference_mode()
    def _rated(self, histories: Ratings, items: Ints) -> Floats:
        """Predicted ratings of each history's items (B, T)."""
        vectors = self.target_vectors(histories)
        owner = torch.arange(len(items)).repeat_interleave(items.shape[1])
        rated = self.target.rate(vectors, owner, torch.from_numpy(items).flatten())
        return np.asarray(rated.view(items.shape).numpy(), np.float32)


@dataclass(frozen=True)
class Top:
    """One user's best items, the best first."""

    items: Ints
    ratings: Floats


def _parts(histories: Ratings, more: int = 1) -> Iterator[Ratings]:
    """The same users in order, some at a time; each counts as ``more`` ratings beside their own."""
    counts = np.bincount(histories.users, minlength=histories.n_users)
    place = np.cumsum(counts + more) // AT_ONCE
    for users in np.split(np.arange(histories.n_users), np.flatnonzero(np.diff(place)) + 1):
        own = slice(*np.searchsorted(histories.users, [users[0], users[-1] + 1]))
        yield Ratings(
            histories.users[own] - users[0],
            histories.items[own],
            histories.values[own],
            len(users),
            histories.n_items,
        )


def _without(history: Ratings, left_out: Ints) -> Ratings:
    """One user's history without each rating of ``left_out`` in turn, one user for each."""
    size, users = len(history), len(left_out)
    owner, row = np.repeat(np.arange(users), size), np.tile(np.arange(size), users)
    kept = row != left_out[owner]
    owner, row = owner[kept], row[kept]
    return Ratings(owner, history.items[row], history.values[row], users, history.n_items)


def _best(rated: Floats, count: int) -> Top:
    """The ``count`` highest; of equal ones the first."""
    some = np.argpartition(-rated, count - 1)[:count] if 0 < count < len(rated) else None
    least = rated[some].min() if some is not None else -np.inf
    candidates = np.flatnonzero(rated >= least)
    order = candidates[np.argsort(-rated[candidates], kind="stable")][:count]
    return Top(order, rated[order])


def _rated(histories: Ratings) -> Rated:
    owner, items = torch.from_numpy(histories.users), torch.from_numpy(histories.items)
    return Rated(torch.arange(histories.n_users), owner, items, torch.from_numpy(histories.values))
