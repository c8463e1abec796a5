"""User kNN across domains: neighbours by source ratings, predictions by their target ratings."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from metaem_core.data.bias import ITEM_DAMPING, USER_DAMPING, fit_slope, fitted_biases
from metaem_core.data.pair import DomainPair, Predict
from metaem_core.data.ratings import Floats, Ints, Ratings

BLOCK = 128  # users scored at once: bounds the dense (items, users) blocks
SIMILARITY_DAMPING = 50.0  # added to squared norms: shrinks similarities of short histories
SUPPORT_DAMPING = 0.5  # added to the sum of similarities: shrinks predictions of few neighbours
WEIGHT_SAMPLE = 2000  # training users the weight is fitted on


@dataclass(frozen=True)
class Rows:
    """A sparse matrix by rows, multiplied with a dense one; ``offsets`` are where rows begin."""

    columns: Tensor
    values: Tensor
    offsets: Tensor

    @classmethod
    def build(cls, rows: Ints, columns: Ints, values: Floats, n_rows: int) -> "Rows":
        """From triples in any order."""
        order = np.argsort(rows, kind="stable")
        counts = np.bincount(rows, minlength=n_rows)
        return cls(
            torch.from_numpy(columns[order]),
            torch.from_numpy(values[order]),
            torch.from_numpy(np.cumsum(counts) - counts),
        )

    def times(self, dense: Tensor) -> Tensor:
        """(rows, columns) @ (columns, B) -> (rows, B)."""
        return embedding_bag(
            self.columns, dense, self.offsets, mode="sum", per_sample_weights=self.values
        )


@dataclass(frozen=True)
class Neighbours:
    """Training users by their source residuals (compared) and target residuals (lent)."""

    source: Ratings  # every user's source residuals, divided by the user's damped norm
    source_rows: Rows  # (T, source items), the training users' part of it
    target_rows: Rows  # (target items, T)
    target_marks: Rows  # ones at the same places
    rank: Ints  # (source users,) position among the training users, -1 for others

    def taste(self, users: Ints, items: Ints) -> Floats:
        """sum_v s_uv y_vi / (sum_v s_uv + damping), v != u training users with s_uv > 0; (Q,)."""
        predicted = np.zeros(len(users), dtype=np.float32)
        distinct, position = np.unique(users, return_inverse=True)
        order = np.argsort(position, kind="stable")
        starts = range(0, len(distinct), BLOCK)
        bounds = np.searchsorted(position[order], [*starts, len(distinct)])
        for start, low, high in zip(starts, bounds[:-1], bounds[1:], strict=True):
            rows = order[low:high]
            scores = self._score(distinct[start : start + BLOCK])  # (target items, B)
            predicted[rows] = scores[items[rows], position[rows] - start]
        return predicted

    def _score(self, users: Ints) -> Floats:
        similarity = self._similarity(users)  # (T, B)
        lent = self.target_rows.times(similarity)
        support = self.target_marks.times(similarity)
        scores: Floats = (lent / (support + SUPPORT_DAMPING)).numpy()
        return scores

    def _similarity(self, users: Ints) -> Tensor:
        mine, column = _restrict(self.source, users)
        dense = torch.zeros(self.source.n_items, len(users))
        dense[mine.items, column] = torch.from_numpy(mine.values)
        similarity = self.source_rows.times(dense).clamp_(min=0)
        own = self.rank[users]
        similarity[own[own >= 0], np.flatnonzero(own >= 0)] = 0
        return similarity


def fit_neighbours(pair: DomainPair, base: Predict) -> Neighbours:
    """Similarity: damped cosine of source residuals. Lent: target residuals of ``base``."""
    unit = _unit_residuals(pair.source)
    rank = np.full(pair.source.n_users, -1)
    rank[pair.train_source] = np.arange(len(pair.train_source))
    source, row = _restrict(unit, pair.train_source)
    overlap, source_users = pair.overlap_ratings()
    lent = overlap.values - base(source_users, overlap.items)
    target_rows = Rows.build(overlap.items, rank[source_users], lent, pair.target.n_items)
    return Neighbours(
        source=unit,
        source_rows=Rows.build(row, source.items, source.values, len(pair.train_source)),
        target_rows=target_rows,
        target_marks=replace(target_rows, values=torch.ones_like(target_rows.values)),
        rank=rank,
    )


def fit_weight(neighbours: Neighbours, pair: DomainPair, base: Predict) -> float:
    """Least-squares weight (at least 0) of the taste term over training users, each as if cold."""
    overlap, source_users = pair.overlap_ratings()
    every = max(1, -(-len(pair.train_source) // WEIGHT_SAMPLE))
    rows = neighbours.rank[source_users] % every == 0
    x = neighbours.taste(source_users[rows], overlap.items[rows]).astype(np.float64)
    y = overlap.values[rows] - base(source_users[rows], overlap.items[rows])
    return max(0.0, fit_slope(x, y))


def _unit_residuals(ratings: Ratings) -> Ratings:
    taste = fitted_biases(ratings, ITEM_DAMPING, USER_DAMPING).residuals(ratings)
    squares = np.bincount(ratings.users, weights=taste**2, minlength=ratings.n_users)
    unit = taste / np.sqrt(squares + SIMILARITY_DAMPING)[ratings.users]
    return replace(ratings, values=unit.astype(np.float32))


def _restrict(ratings: Ratings, users: Ints) -> tuple[Ratings, Ints]:
    """Only these users' ratings, and each rating's position in ``users``."""
    rank = np.full(ratings.n_users, -1)
    rank[users] = np.arange(len(users))
    kept = ratings.of_users(rank >= 0)
    return kept, rank[kept.users]
