"""Scores of a target's items for users of the source, from two kinds of features, standardised."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from metaem_core.data.choices import Choices, Scores
from metaem_core.models.choice import ChoiceDomain, ItemFactors, places_along


@dataclass(frozen=True)
class SourceFeatures:
    """What the mapping reads of a user.

    A one and the d strongest directions of their source vector; a one and their choices, at
    length 1, along the p leading directions of the source.
    """

    items: ItemFactors  # of the source
    turn: Tensor  # (k, d): source vector -> directions of unit deviation, the strongest first
    leading: Tensor  # (n, p)

    @classmethod
    def of(cls, source: ChoiceDomain, size: int) -> "SourceFeatures":
        """The ``size`` strongest directions."""
        turn = source.directions()[0][:, :size]
        mean = source.moments[0, 1:] / source.n_users @ turn
        square = (turn * (source.moments[1:, 1:] @ turn)).sum(0) / source.n_users
        deviation = (square - mean.square()).clamp_min(1e-12).sqrt()
        turn = (turn / deviation).to(source.items.vectors.dtype)
        return cls(source.items, turn, source.leading)

    @property
    def p(self) -> int:
        return self.leading.shape[1]

    @property
    def width(self) -> int:
        """2 + d + p."""
        return 2 + self.turn.shape[1] + self.p

    def __call__(self, choices: Choices) -> Tensor:
        """Features (B, 2 + d + p) of users by their choices in the source."""
        users = self.items.fold_in(choices) @ self.turn
        one = users.new_ones(len(users), 1)
        return torch.cat([one, users, one, places_along(self.leading, choices)], 1)


class OverlapSums(NamedTuple):
    """What the devices of the training overlap add up, f and g being both kinds of features."""

    square: Tensor  # f f' (1 + d, 1 + d)
    cross: Tensor  # f u' (1 + d, k), of the target vector u along the target's directions
    leading: Tensor  # g g' (1 + p, 1 + p)
    chosen: Tensor  # g on the rows of items that LEAST users or more chose (n, 1 + p), else 0

    @property
    def n_users(self) -> float:
        return float(self.square[0, 0])

    @property
    def average(self) -> Tensor:
        """The mean of the features (2 + d + p,)."""
        return torch.cat([self.square[0], self.leading[0]]) / self.n_users


def overlap_sums(
    features: Tensor, p: int, vectors: Tensor, chosen: Choices, summed: Tensor
) -> OverlapSums:
    """The sums of users (B,): a device's own, or those of the whole overlap.

    Args:
        features: (B, 2 + d + p).
        vectors: along the target's directions (B, k).
        chosen: of target items.
        summed: whether an item's row is added up (n,).
    """
    f, g = features[:, : -1 - p], features[:, -1 - p :]
    rows = torch.zeros(chosen.n_items, g.shape[1], dtype=features.dtype)
    kept = summed[chosen.items]
    rows.index_add_(0, chosen.items[kept], g[chosen.owner[kept]])
    return OverlapSums(f.T @ f, f.T @ vectors, g.T @ g, rows)


@dataclass(frozen=True)
class ChoiceScorer:
    """A weighted sum of standardised scores, each ``f . table_j``.

    The tables of the vectors read the first features, 1 + size of them, and together weigh 1. The
    table of the leading directions reads the last, 1 + p.
    """

    tables: tuple[Tensor, ...]  # (n, 1 + size) each, then (n, 1 + p); of mean 0 over items
    weight: float  # of the last

    @classmethod
    def of(cls, tables: Sequence[Tensor], weight: float) -> "ChoiceScorer":
        """Centred: an equal number for all items ranks nothing."""
        return cls(tuple(table - table.mean(0) for table in tables), weight)

    def scores(self, features: Tensor) -> Tensor:
        """Of all items (B, n), 0 on average over items."""
        scaled = [features[:, place] * scale for place, scale in self._scales(features)]
        return torch.cat(scaled, 1) @ self._side_by_side.T

    def slopes(self, features: Tensor, items: Tensor) -> Tensor:
        """What each user's features multiply in their scores of ``items`` (B, T): (B, T, F)."""
        slopes = features.new_zeros(*items.shape, features.shape[1])
        for table, (place, scale) in zip(self.tables, self._scales(features), strict=True):
            slopes[:, :, place] += table[items] * scale.unsqueeze(2)
        return slopes

    def _places(self, width: int) -> list[slice]:
        """Which features each table reads."""
        *vectors, leading = (table.shape[1] for table in self.tables)
        return [*(slice(size) for size in vectors), slice(width - leading, width)]

    def _scales(self, features: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """What each table reads, and its weight over the deviation of its scores over items."""
        vectors = len(self.tables) - 1
        weights = [*(1 / vectors for _ in range(vectors)), self.weight]
        places = self._places(features.shape[1])
        for covariance, place, weight in zip(self._covariances, places, weights, strict=True):
            own = features[:, place]
            variance = ((own @ covariance) * own).sum(1, keepdim=True)
            yield place, weight / variance.clamp_min(1e-12).sqrt()

    @cached_property
    def _covariances(self) -> list[Tensor]:
        return [table.T @ table / len(table) for table in self.tables]

    @cached_property
    def _side_by_side(self) -> Tensor:
        return torch.cat(self.tables, 1)


@dataclass(frozen=True)
class ChoiceModel:
    """Scores of all target items for users of the source."""

    features: SourceFeatures
    scorer: ChoiceScorer
    average: Tensor  # features of who chose nothing in the source (2 + d + p,)

    def read(self, choices: Choices) -> Tensor:
        """Features (B, 2 + d + p) of users by their choices in the source, if they have any."""
        return torch.where(choices.counts[:, None] > 0, self.features(choices), self.average)

    def scores(self, choices: Choices) -> Tensor:
        """(B, n) from choices in the source."""
        return self.scorer.scores(self.read(choices))

    def scores_of(self, source: Choices) -> Scores:
        """Of the users of ``source`` by their indices."""
        return lambda users: self.scores(source.of_users(users))
