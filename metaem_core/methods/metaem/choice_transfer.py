"""Stage 2 of choice from end to end: sums over the overlap, selection, and the final model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metaem_core.config.choice import ChoiceMappingConfig
from metaem_core.data.choices import ChoicePair, Choices
from metaem_core.evaluation.metrics import Doubles
from metaem_core.methods.metaem.choice_mapping import (
    LeadingMapping,
    VectorMapping,
    fit_leading,
    fit_vectors,
    scorer,
)
from metaem_core.methods.metaem.choice_selection import ScoredUsers, list_quality
from metaem_core.models.choice import ChoiceDomain
from metaem_core.models.choice_mapping import ChoiceModel, OverlapSums, SourceFeatures, overlap_sums
from metaem_core.training.seeds import drawn_positions


@dataclass(frozen=True)
class Candidate:
    """One setting of the mapping, and the mean NDCG of the users who select."""

    damping: float
    leading_damping: float | None  # None: the distance-oriented mapping alone
    ndcg: float | None  # None: nobody selected


class ChoiceMapped(NamedTuple):
    """A mapping, and how it was selected."""

    model: ChoiceModel
    candidates: list[Candidate]
    selected: Candidate


@dataclass(frozen=True)
class Directions:
    """What two pretrained domains say of the mapping between them."""

    config: ChoiceMappingConfig
    features: SourceFeatures
    turn: Tensor  # target vector -> the target's directions (k, k), in float64
    turn_item: Tensor  # target item -> the same (k, k), in float64
    items: Tensor  # target items along its directions (n, k), in float64
    share: Tensor  # of the target's users who chose each item (n,), in float64

    @classmethod
    def of(
        cls, config: ChoiceMappingConfig, source: ChoiceDomain, target: ChoiceDomain
    ) -> "Directions":
        """Of as many source directions as the largest mapping reads."""
        turn_user, turn_item = target.directions()
        items = target.items.vectors.double() @ turn_item
        features = SourceFeatures.of(source, max(config.sizes))
        share = target.popularity / target.n_users
        return cls(config, features, turn_user, turn_item, items, share)

    def fitted(
        self, sums: OverlapSums, damping: float, leading_damping: float | None
    ) -> tuple[list[VectorMapping], LeadingMapping]:
        """The ridges of each size, and that of the leading directions."""
        config, n = self.config, sums.n_users
        weight = config.weight * n / (n + config.half_weight) if leading_damping else 0.0
        ridge = leading_damping or config.leading_damping[0]
        vectors = [fit_vectors(sums, self.items, size, damping) for size in config.sizes]
        return vectors, fit_leading(sums, self.share, ridge, weight)

    def model(self, sums: OverlapSums, setting: Candidate) -> ChoiceModel:
        """The mapping of one setting."""
        fitted = self.fitted(sums, setting.damping, setting.leading_damping)
        return ChoiceModel(self.features, scorer(*fitted), sums.average.float())

    def unselected(self, sums: OverlapSums) -> ChoiceMapped:
        """The mapping with the first values of both dampings."""
        first = Candidate(self.config.damping[0], self.config.leading_damping[0], None)
        return ChoiceMapped(self.model(sums, first), [first], first)


class ChoiceTransfer:
    """The mapping between two pretrained domains, by sums over the training overlap."""

    def __init__(
        self,
        config: ChoiceMappingConfig,
        source: ChoiceDomain,
        target: ChoiceDomain,
        pair: ChoicePair,
        validation_source: Tensor,
        validation: Choices,
    ) -> None:
        """``validation_source`` (B,): source indices of the users whose choices validate."""
        self.config, self.candidates = config, list[Candidate]()
        self._quality: list[Doubles] = []  # of each candidate, by user
        self._between = between = Directions.of(config, source, target)
        mine, theirs = pair.in_both()
        overlap = pair.target.of_users(theirs)
        x = between.features(pair.source.of_users(mine))
        u = target.items.fold_in(overlap)
        turned = u.double() @ between.turn
        self.sums = overlap_sums(x.double(), source.leading.shape[1], turned, overlap)
        some = _some(len(x), config)
        sample = overlap.of_users(some)
        own_items = target.without(u[some][sample.owner], sample.items).double() @ between.turn_item
        trained = ScoredUsers(x[some], sample, turned[some].float(), own_items.float(), True)
        self._judges = [trained, *self._validating(pair, validation_source, validation)]

    def _validating(self, pair: ChoicePair, source: Tensor, chosen: Choices) -> list[ScoredUsers]:
        both = ((pair.source.counts[source] > 0) & (chosen.counts > 0)).nonzero().flatten()
        some = both[_some(len(both), self.config)]
        if len(some) == 0:
            return []
        x, sample = (
            self._between.features(pair.source.of_users(source[some])),
            chosen.of_users(some),
        )
        none = torch.zeros(len(some), self._between.items.shape[1])
        return [ScoredUsers(x, sample, none, self._between.items[sample.items].float(), False)]

    def fit(self, on_ndcg: Callable[[float], None] = lambda _: None) -> ChoiceModel:
        """Select the damping of vectors, then that of leading directions, or none of these."""
        dampings, leading = self.config.damping, self.config.leading_damping
        for damping in dampings:
            on_ndcg(self._judge(damping, leading[0]))
        best = self.selected.damping
        for leading_damping in (*leading[1:], None):
            on_ndcg(self._judge(best, leading_damping))
        return self._between.model(self.sums, self.selected)

    @property
    def selected(self) -> Candidate:
        """The best candidate, if the users who select are sure that it beats the first."""
        first, caution = self._quality[0], self.config.caution
        gains = [each - first for each in self._quality]
        certain = [gain.mean() - caution * gain.std() / len(gain) ** 0.5 > 0 for gain in gains]
        ranked = [g.mean() if sure else 0.0 for g, sure in zip(gains, certain, strict=True)]
        return self.candidates[int(np.argmax(ranked))]

    def _judge(self, damping: float, leading_damping: float | None) -> float:
        fitted, length = (
            self._between.fitted(self.sums, damping, leading_damping),
            self.config.length,
        )
        parts = [list_quality(*fitted, users, length) for users in self._judges]
        self._quality.append(np.concatenate(parts))
        ndcg = float(self._quality[-1].mean())
        self.candidates.append(Candidate(damping, leading_damping, ndcg))
        return ndcg


def _some(count: int, config: ChoiceMappingConfig) -> Tensor:
    """Positions of at most ``selection_users`` of so many users, ascending."""
    return torch.from_numpy(drawn_positions(count, config.selection_users, config.seed))
