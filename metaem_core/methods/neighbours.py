"""User-kNN across domains: neighbours found in the source, their taste read in the target."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from metaem_core.bias import damped_biases
from metaem_core.pair import DomainPair
from metaem_core.ratings import Floats, Ints, Ratings

BLOCK = 128  # users scored at once: bounds the dense (items, users) blocks
SIMILARITY_DAMPING = 15.0  # added to squared norms: a short history resembles nobody much
SUPPORT_DAMPING = 0.5  # added to the sum of similarities: weak support predicts little


@dataclass(frozen=True)
class Rows:
    """A sparse matrix by rows, multiplied with a dense one."""

    columns: Tensor  # (nnz,)
    values: Tensor  # (nnz,)
    offsets: Tensor  # (rows,)

    @classmethod
    def build(cls, rows: Ints, columns: Ints, values: Floats, n_rows: int) -> "Rows":
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
    """Training users by their source residuals (to be compared) and target residuals (to lend)."""

    source_rows: Rows  # (T, source items), each row divided by its damped norm
    target_rows: Rows  # (target items, T)
    target_marks: Rows  # the same places, all ones
    unit_source: Ratings  # every user's source residuals, divided likewise

    @classmethod
    def fit(cls, pair: DomainPair) -> "Neighbours":
        """Both domains' residuals are taken from their own damped item and user biases."""
        unit = _unit_residuals(pair.source)
        source, rank = _restrict(unit, pair.train_source)
        taste = _residuals(pair.target)
        lent, lender = _restrict(taste, pair.train_target)
        n_items, n_train = pair.target.n_items, len(pair.train_source)
        return cls(
            Rows.build(rank, source.items, source.values, n_train),
            Rows.build(lent.items, lender, lent.values, n_items),
            Rows.build(lent.items, lender, np.ones_like(lent.values), n_items),
            unit,
        )

    def taste(self, users: Ints, items: Ints) -> Floats:
        """sum_v s_uv y_vi / (sum_v |s_uv| + damping) over training users v; shape (Q,)."""
        found = np.zeros(len(users), dtype=np.float32)
        asked, position = np.unique(users, return_inverse=True)
        for start in range(0, len(asked), BLOCK):
            scores = self._score(asked[start : start + BLOCK])  # (target items, B)
            column = position - start
            here = np.flatnonzero((column >= 0) & (column < BLOCK))
            found[here] = scores[items[here], column[here]]
        return found

    def _score(self, users: Ints) -> Floats:
        mine, column = _restrict(self.unit_source, users)
        dense = torch.zeros(self.unit_source.n_items, len(users))
        dense[mine.items, column] = torch.from_numpy(mine.values)
        similarity = self.source_rows.times(dense)  # (T, B)
        lent = self.target_rows.times(similarity)
        support = self.target_marks.times(similarity.abs())
        return (lent / (support + SUPPORT_DAMPING)).numpy()


def _residuals(ratings: Ratings) -> Ratings:
    taste = damped_biases(ratings).residuals(ratings)
    return Ratings(ratings.users, ratings.items, taste, ratings.n_users, ratings.n_items)


def _unit_residuals(ratings: Ratings) -> Ratings:
    taste = _residuals(ratings)
    squares = np.bincount(taste.users, weights=taste.values**2, minlength=taste.n_users)
    unit = taste.values / np.sqrt(squares + SIMILARITY_DAMPING)[taste.users]
    return Ratings(taste.users, taste.items, unit.astype(np.float32), taste.n_users, taste.n_items)


def _restrict(ratings: Ratings, users: Ints) -> tuple[Ratings, Ints]:
    """Only these users' ratings, and each rating's position in ``users``."""
    rank = np.full(ratings.n_users, -1)
    rank[users] = np.arange(len(users))
    kept = ratings.of_users(rank >= 0)
    return kept, rank[kept.users]
