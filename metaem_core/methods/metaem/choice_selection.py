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
from metaem_core.methods.metaem.choice_mapping import Residual, Start
from metaem_core.models.choice import MOST_LEVERAGE

SCORES_AT_ONCE = 1 << 22  # user-item pairs that are scored together


@dataclass(frozen=True)
class ScoredUsers:
    """Users who select, each with at least one choice in the target."""

    features: Tensor  # (B, 1 + d)
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
    starts: list[Start], residuals: list[Residual], users: ScoredUsers, length: int
) -> Doubles:
    """NDCG@length of each user (B,), each as if cold, under the mean of standardised scores."""
    starts = [start.single() for start in starts]
    residuals = [residual.single() for residual in residuals]
    at_once = max(1, SCORES_AT_ONCE // users.chosen.n_items)
    blocks = torch.split(torch.arange(users.chosen.n_users), at_once)
    return np.concatenate(
        [_quality(starts, residuals, users.of(place), length) for place in blocks if len(place)]
    )


def _quality(
    starts: list[Start], residuals: list[Residual], users: ScoredUsers, length: int
) -> Doubles:
    total = torch.zeros(len(users.features), users.chosen.n_items)
    for place, start in enumerate(starts):
        scores = _scores(users, start, residuals[place] if residuals else None)
        total += scores.sub_(scores.mean(1, keepdim=True)).div_(scores.std(1, keepdim=True))
    owner, items = users.chosen.owner.numpy(), users.chosen.items.numpy()
    return ndcg_at_k(place_at(total.numpy(), owner, items), length)


def _scores(users: ScoredUsers, start: Start, residual: Residual | None) -> Tensor:
    """Of all items (B, n)."""
    features = users.features[:, : len(start.weights)]
    size, at = start.items.shape[1], (users.chosen.owner, users.chosen.items)
    mapped = features @ start.weights
    vectors = _left_out(users, users.vectors[:, :size], mapped, features, start.inverse)
    scores = vectors @ start.items.T
    scores[at] = (vectors[at[0]] * users.own_items[:, :size]).sum(1)
    if residual is None:
        return scores
    left = -start.gain * mapped @ start.items.T
    left[at] += 1
    fitted = features @ residual.table.T
    return start.gain * scores + _left_out(users, left, fitted, features, residual.inverse)


def _left_out(
    users: ScoredUsers, target: Tensor, fitted: Tensor, features: Tensor, inverse: Tensor
) -> Tensor:
    """What a ridge predicts of ``target`` for each user (B, ...) when it is fitted without them."""
    if not users.in_sums:
        return fitted
    leverage = ((features @ inverse) * features).sum(1, keepdim=True).clamp_max(MOST_LEVERAGE)
    return target - (target - fitted) / (1 - leverage)
