"""Selecting the damping of the mapping of choices: every user is scored as if they were cold.

Validation users are in no sum. A user of the training overlap is taken out of the sums in closed
form: out of a ridge by their leverage (Allen 1974), out of the vectors of their own items by one
Newton step. A device can do both from what it is sent, and answers with one NDCG a candidate.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metaem_core.data.choices import Choices
from metaem_core.evaluation.metrics import Doubles
from metaem_core.evaluation.ranking import ndcg_at_k, place_at
from metaem_core.methods.metaem.choice_mapping import LeadingMapping, VectorMapping
from metaem_core.models.choice import MOST_LEVERAGE

SCORES_AT_ONCE = 1 << 22  # user-item pairs that are scored together


@dataclass(frozen=True)
class ScoredUsers:
    """Users who select, each with at least one choice in the target."""

    features: Tensor  # (B, 2 + d + p)
    chosen: Choices
    vectors: Tensor  # along the target's directions (B, k)
    own_items: Tensor  # the vector of each choice's item, without its user (R, k), likewise
    in_sums: bool  # False: nothing has to be taken out, and ``vectors`` count for nothing

    def of(self, place: Tensor) -> "ScoredUsers":
        """Some of them, who are neighbours."""
        rows = slice(int(self.chosen.start[place[0]]), int(self.chosen.start[place[-1] + 1]))
        chosen = self.chosen.of_users(place)
        own_items = self.own_items[rows]
        return ScoredUsers(
            self.features[place], chosen, self.vectors[place], own_items, self.in_sums
        )


def list_quality(
    vectors: list[VectorMapping], leading: LeadingMapping, users: ScoredUsers, length: int
) -> Doubles:
    """NDCG@length of each user (B,), each as if cold, under the weighted standardised scores."""
    vectors, leading = [each.single() for each in vectors], leading.single()
    at_once = max(1, SCORES_AT_ONCE // users.chosen.n_items)
    blocks = torch.split(torch.arange(users.chosen.n_users), at_once)
    return np.concatenate(
        [_quality(vectors, leading, users.of(place), length) for place in blocks if len(place)]
    )


def _quality(
    vectors: list[VectorMapping], leading: LeadingMapping, users: ScoredUsers, length: int
) -> Doubles:
    total = _standardised(_by_leading(users, leading)) * leading.weight
    for each in vectors:
        total += _standardised(_by_vectors(users, each)) / len(vectors)
    owner, items = users.chosen.owner.numpy(), users.chosen.items.numpy()
    return ndcg_at_k(place_at(total.numpy(), owner, items), length)


def _standardised(scores: Tensor) -> Tensor:
    deviation = scores.std(1, keepdim=True, correction=0).clamp_min(1e-6)
    return scores.sub_(scores.mean(1, keepdim=True)).div_(deviation)


def _by_vectors(users: ScoredUsers, mapping: VectorMapping) -> Tensor:
    """Of all items (B, n)."""
    features = users.features[:, : len(mapping.weights)]
    size, at = mapping.items.shape[1], (users.chosen.owner, users.chosen.items)
    own, mapped = users.vectors[:, :size], features @ mapping.weights
    vectors = _left_out(users, own, mapped, features, mapping.inverse)
    scores = vectors @ mapping.items.T
    scores[at] = (vectors[at[0]] * users.own_items[:, :size]).sum(1)
    return scores


def _by_leading(users: ScoredUsers, mapping: LeadingMapping) -> Tensor:
    """Of all items (B, n); a user's part of the items' popularity, below 1 / m, stays in."""
    features = users.features[:, -len(mapping.inverse) :]
    fitted, chosen = features @ mapping.table.T, torch.zeros(len(features), users.chosen.n_items)
    chosen[users.chosen.owner, users.chosen.items] = 1
    return _left_out(users, chosen, fitted, features, mapping.inverse)


def _left_out(
    users: ScoredUsers, target: Tensor, fitted: Tensor, features: Tensor, inverse: Tensor
) -> Tensor:
    """What a ridge predicts of ``target`` for each user (B, ...) when it is fitted without them."""
    if not users.in_sums:
        return fitted
    leverage = ((features @ inverse) * features).sum(1, keepdim=True).clamp_max(MOST_LEVERAGE)
    return target - (target - fitted) / (1 - leverage)
