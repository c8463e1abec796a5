"""Scores of a target's items for users of the source: ridge mappings of several sizes, averaged."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from metaem_core.data.choices import Choices
from metaem_core.models.choice import ChoiceDomain, ItemFactors


@dataclass(frozen=True)
class SourceFeatures:
    """What the mapping reads of a user: a one, and the directions of their source vector."""

    items: ItemFactors  # of the source
    turn: Tensor  # (k, d): source vector -> directions of unit deviation, the strongest first

    @classmethod
    def of(cls, source: ChoiceDomain, size: int) -> "SourceFeatures":
        """The ``size`` strongest directions."""
        turn = source.directions()[0][:, :size]
        mean = source.moments[0, 1:] / source.n_users @ turn
        square = (turn * (source.moments[1:, 1:] @ turn)).sum(0) / source.n_users
        deviation = (square - mean.square()).clamp_min(1e-12).sqrt()
        return cls(source.items, (turn / deviation).to(source.items.vectors.dtype))

    def __call__(self, choices: Choices) -> Tensor:
        """Features (B, 1 + d) of users by their choices in the source."""
        users = self.items.fold_in(choices) @ self.turn
        return torch.cat([users.new_ones(len(users), 1), users], 1)


class OverlapSums(NamedTuple):
    """What the devices of the training overlap add up."""

    square: Tensor  # f f' (1 + d, 1 + d)
    cross: Tensor  # f u' (1 + d, k), of the target vector u along the target's directions
    chosen: Tensor  # f on the rows of chosen items (n, 1 + d)

    @property
    def n_users(self) -> float:
        return float(self.square[0, 0])


def overlap_sums(features: Tensor, vectors: Tensor, chosen: Choices) -> OverlapSums:
    """The sums of users (B,): a device's own, or those of the whole overlap.

    Args:
        features: (B, 1 + d).
        vectors: along the target's directions (B, k).
        chosen: of target items.
    """
    rows = torch.zeros(chosen.n_items, features.shape[1], dtype=features.dtype)
    rows.index_add_(0, chosen.items, features[chosen.owner])
    return OverlapSums(features.T @ features, features.T @ vectors, rows)


@dataclass(frozen=True)
class ChoiceScorer:
    """The mean over mappings of standardised scores, each ``f . table_j`` with f (1 + size,)."""

    tables: tuple[Tensor, ...]  # (n, 1 + size) each, of mean 0 over items

    @classmethod
    def of(cls, tables: Sequence[Tensor]) -> "ChoiceScorer":
        """Centred: an equal number for all items ranks nothing."""
        return cls(tuple(table - table.mean(0) for table in tables))

    def scores(self, features: Tensor) -> Tensor:
        """Of all items (B, n): on average over items 0, with deviation 1 for each mapping."""
        weights = [
            features[:, : table.shape[1]] * scale
            for table, scale in zip(self.tables, self._scales(features), strict=True)
        ]
        return torch.cat(weights, 1) @ self._side_by_side.T

    def slopes(self, features: Tensor, items: Tensor) -> Tensor:
        """What each user's features multiply in their scores of ``items`` (B, T): (B, T, 1 + d)."""
        slopes = features.new_zeros(*items.shape, features.shape[1])
        for table, scale in zip(self.tables, self._scales(features), strict=True):
            slopes[:, :, : table.shape[1]] += table[items] * scale.unsqueeze(2)
        return slopes

    def _scales(self, features: Tensor) -> Iterator[Tensor]:
        """One over the deviation of each mapping's scores over items, and over their number."""
        for covariance in self._covariances:
            own = features[:, : len(covariance)]
            variance = ((own @ covariance) * own).sum(1, keepdim=True)
            yield 1 / (len(self.tables) * variance.clamp_min(1e-12).sqrt())

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

    def scores(self, choices: Choices) -> Tensor:
        """(B, n) from choices in the source."""
        return self.scorer.scores(self.features(choices))
