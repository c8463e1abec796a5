"""Stage 2 of choice from end to end: sums over the training overlap, and what follows from them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metaem_core.config.choice import ChoiceMappingConfig
from metaem_core.data.choices import ChoicePair
from metaem_core.methods.metaem.choice_mapping import fit_leading, fit_vectors
from metaem_core.models.choice import ChoiceDomain, ItemFactors, enough
from metaem_core.models.choice_mapping import (
    ChoiceModel,
    ChoiceScorer,
    OverlapSums,
    SourceFeatures,
    overlap_sums,
)


@dataclass(frozen=True)
class ChoiceTransfer:
    """What two pretrained domains say of the mapping between them."""

    config: ChoiceMappingConfig
    features: SourceFeatures
    target: ItemFactors
    turn: Tensor  # target vector -> the target's directions (k, k), in float64
    items: Tensor  # target items along its directions (n, k), in float64
    share: Tensor  # of the target's users who chose each item (n,), in float64

    @classmethod
    def of(
        cls, config: ChoiceMappingConfig, source: ChoiceDomain, target: ChoiceDomain
    ) -> "ChoiceTransfer":
        """Of as many source directions as the largest mapping reads."""
        features = SourceFeatures.of(source, max(config.sizes))
        turn, turn_item = target.directions()
        items = target.items.vectors.double() @ turn_item
        share = target.popularity / target.n_users
        return cls(config, features, target.items, turn, items, share)

    def sums(self, pair: ChoicePair) -> OverlapSums:
        """Of the users who chose in both domains; raises ValueError if nobody did."""
        mine, theirs = pair.in_both()
        overlap = pair.target.of_users(theirs)
        features = self.features(pair.source.of_users(mine)).double()
        vectors = self.target.fold_in(overlap).double() @ self.turn
        summed = enough(overlap.popularity())
        return overlap_sums(features, self.features.p, vectors, overlap, summed)

    def model(self, sums: OverlapSums) -> ChoiceModel:
        """The mapping that follows."""
        config, n = self.config, sums.n_users
        tables = [fit_vectors(sums, self.items, size, config.damping) for size in config.sizes]
        tables.append(fit_leading(sums, self.share, config.leading_damping))
        weight = config.weight * n / (n + config.half_weight)
        scorer = ChoiceScorer.of([table.float() for table in tables], weight)
        return ChoiceModel(self.features, scorer, sums.average.to(torch.float32))
