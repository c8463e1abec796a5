"""Lists for cold users, ranked over the whole catalogue: how good they are, and how diverse."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from metaem_core.data.choices import Choices, Scores, Thresholds
from metaem_core.data.ratings import Ints, RatingScale
from metaem_core.evaluation.metrics import Doubles
from metaem_core.evaluation.ranking import (
    Placements,
    hit_rate_at_k,
    mrr,
    ndcg_at_k,
    place_at,
    recall_at_k,
)

MEASURES = ("ndcg", "hr", "recall", "mrr")
PAIRS_AT_ONCE = 1 << 22  # user-item pairs that are scored together


@dataclass(frozen=True)
class RankConfig:
    """How lists are compared."""

    task: str  # such as movie-music; names the experiment
    scale: RatingScale = field(default_factory=RatingScale)  # above its middle an item is liked
    thresholds: Thresholds = (None, None)  # the fewest stars of a choice: source, target
    length: int = 10  # of a list: k of NDCG and HR
    recall_length: int = 20
    negatives: int = 0  # of the sampled protocol, which is left out with 0
    users: int | None = None  # at most so many cold users, drawn by seed; None: all
    seed: int = 0

    @property
    def metrics(self) -> dict[str, str]:
        """The measures as tables have them."""
        names = (f"ndcg_at_{self.length}", f"hr_at_{self.length}")
        return dict(zip(MEASURES, (*names, f"recall_at_{self.recall_length}", "mrr"), strict=True))

    def __post_init__(self) -> None:
        if min(self.length, self.recall_length, self.users or 1) < 1:
            raise ValueError(f"lists and users must be positive, got {self!r}")


@dataclass(frozen=True)
class Lists:
    """A method's lists for U users."""

    top: Ints  # items (U, length), the best first; of equal ones any
    measures: Mapping[
        str, Mapping[str, Doubles]
    ]  # by what is relevant and measure, (U,); NaN: none


def rank(
    scores: Scores, users: Tensor, relevant: Mapping[str, Choices], config: RankConfig
) -> Lists:
    """Rank the catalogue for every user; ties count as the mean over their orders.

    Args:
        users: source indices (U,).
        relevant: by name, the items that count as found for each of them.
    """
    n_items = next(iter(relevant.values())).n_items
    top, parts = [], []
    for place in torch.split(torch.arange(len(users)), max(1, PAIRS_AT_ONCE // n_items)):
        block = scores(users[place])
        length = min(config.length, n_items)
        top.append(block.topk(length, 1).indices.numpy())
        each = {
            n: _measured(block, chosen.of_users(place), config) for n, chosen in relevant.items()
        }
        parts.append(each)
    measures = {
        name: {m: np.concatenate([part[name][m] for part in parts]) for m in parts[0][name]}
        for name in relevant
    }
    return Lists(np.concatenate(top), measures)


def _measured(scores: Tensor, chosen: Choices, config: RankConfig) -> dict[str, Doubles]:
    """Measures of a block (B,); NaN for a user without a relevant item."""
    known = chosen.counts.nonzero().flatten()
    own = chosen.of_users(known)
    filled = {name: np.full(chosen.n_users, np.nan) for name in MEASURES}
    if len(known):
        places = place_at(scores[known].numpy(), own.owner.numpy(), own.items.numpy())
        for name, values in zip(MEASURES, _measures(places, config), strict=True):
            filled[name][known.numpy()] = values
    return filled


def _measures(places: Placements, config: RankConfig) -> tuple[Doubles, ...]:
    k = config.length
    recall = recall_at_k(places, config.recall_length)
    return ndcg_at_k(places, k), hit_rate_at_k(places, k), recall, mrr(places)


def rank_sampled(
    scores: Scores, users: Tensor, chosen: Choices, config: RankConfig
) -> dict[str, float]:
    """Rank each held-out item among ``negatives`` random others: how published tables do it.

    Means over held-out items, not over users. An item that the user chose is never a negative.

    Args:
        users: source indices (U,).
        chosen: all that each of them chose in the target; every item is held out.
    """
    draw = torch.Generator().manual_seed(config.seed)
    rows = []
    for place in torch.split(torch.arange(len(users)), max(1, PAIRS_AT_ONCE // chosen.n_items)):
        block, own = scores(users[place]), chosen.of_users(place)
        for user in range(len(place)):
            items = own.items[own.start[user] : own.start[user + 1]]
            rows.append(_against_negatives(block[user], items, config.negatives, draw))
    candidates = torch.cat(rows)  # (R, 1 + negatives), the true item first
    truth = np.arange(len(candidates)), np.zeros(len(candidates), np.int64)
    measures = _measures(place_at(candidates.numpy(), *truth), config)
    return {name: float(values.mean()) for name, values in zip(MEASURES, measures, strict=True)}


def _against_negatives(
    scores: Tensor, items: Tensor, negatives: int, draw: torch.Generator
) -> Tensor:
    """The scores of each of a user's ``items`` (R,) and of as many others (R, 1 + negatives)."""
    keys = torch.rand(len(items), len(scores), generator=draw)
    keys[:, items] = -1.0
    others = keys.topk(min(negatives, len(scores) - len(items)), 1).indices
    return torch.cat([scores[items].unsqueeze(1), scores[others]], 1)


def diversity(top: Ints, popularity: Tensor, n_users: int) -> dict[str, float]:
    """How much the lists differ.

    Args:
        top: items of each user's list (U, length).
        popularity: how many of ``n_users`` training users chose each item (n,).

    Returns:
        coverage: share of the catalogue that is in some list.
        first_share: share of users with the most frequent first item.
        popularity: mean share of training users who chose a listed item.
        gini: of how often each item of the catalogue is listed; 0: all equally.
    """
    counts = np.bincount(top.ravel(), minlength=len(popularity))
    ordered = np.sort(counts)
    ranks = np.arange(1, len(ordered) + 1)
    gini = 2 * (ranks @ ordered) / (len(ordered) * ordered.sum()) - 1 - 1 / len(ordered)
    return {
        "coverage": float((counts > 0).mean()),
        "first_share": float(np.bincount(top[:, 0]).max() / len(top)),
        "popularity": float(popularity.numpy()[top].mean() / n_users),
        "gini": float(gini),
    }
