"""NDCG, hit rate and MRR; a tie counts as the mean over all its orders."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metaem_core.data.ratings import Ints
from metaem_core.evaluation.metrics import Doubles, Reals, require_finite, row_errors

Marks = NDArray[np.bool_]
FEW = 32  # relevant items of a user that are counted one by one, rather than by sorting the row


@dataclass(frozen=True)
class Placements:
    """Where each user's relevant items stand among the whole catalogue, by (user, item)."""

    users: Ints  # (N,) row of the score matrix
    above: Ints  # (N,) items scored strictly higher
    tied: Ints  # (N,) items scored the same, itself included
    n_users: int


def place(scores: Reals, relevant: Marks) -> Placements:
    """Rank the catalogue for each user, who has a relevant item; both are (U, items).

    Raises:
        ValueError: shapes differ, or a user has no relevant item.
    """
    if scores.shape != relevant.shape:
        raise ValueError(f"scores {scores.shape} and relevant {relevant.shape} differ in shape")
    if len(rows := np.flatnonzero(~relevant.any(axis=1))):
        raise ValueError(f"{len(rows)} users have no relevant item, first row {rows[0]}")
    return place_at(scores, *np.nonzero(relevant))


def place_at(scores: Reals, users: Ints, items: Ints) -> Placements:
    """Rank the catalogue for each row of ``scores`` (U, items).

    Args:
        users: the row of each relevant item (N,), ascending, every row at least once.
        items: the relevant items (N,).

    Raises:
        ValueError: a score is not finite.
    """
    require_finite(scores)
    above, tied = np.empty_like(users), np.empty_like(users)
    bounds = np.searchsorted(users, np.arange(len(scores) + 1))
    for row, low, high in zip(scores, bounds[:-1], bounds[1:], strict=True):
        mine = row[items[low:high]]
        if high - low < FEW:
            above[low:high] = [np.count_nonzero(row > each) for each in mine]
            tied[low:high] = [np.count_nonzero(row == each) for each in mine]
        else:
            ordered = np.sort(row)
            end = np.searchsorted(ordered, mine, side="right")
            above[low:high] = len(row) - end
            tied[low:high] = end - np.searchsorted(ordered, mine, side="left")
    return Placements(users, above, tied, len(scores))


def ndcg_at_k(places: Placements, k: int) -> Doubles:
    """DCG over the best possible DCG with gain 1 per relevant item, discount 1/log2(1 + rank)."""
    reach = int((places.above + places.tied).max())
    within = np.cumsum(np.where(np.arange(reach) < _positive(k), _discount(reach), 0.0))
    summed = np.concatenate([[0.0], within])
    gain = (summed[places.above + places.tied] - summed[places.above]) / places.tied
    n_relevant = np.bincount(places.users, minlength=places.n_users)
    ideal = np.concatenate([[0.0], np.cumsum(_discount(k))])[np.minimum(n_relevant, k)]
    reached = np.bincount(places.users, weights=gain, minlength=places.n_users)
    ndcg: Doubles = np.minimum(reached / ideal, 1.0)  # sums in another order may exceed it
    return ndcg


def hit_rate_at_k(places: Placements, k: int) -> Doubles:
    """Probability that a relevant item is among the first k, over the orders of ties."""
    missed, end = np.ones(places.n_users), places.above + places.tied
    missed[places.users[end <= _positive(k)]] = 0.0
    cut = (places.above < k) & (end > k)  # one tie a user at most
    users, outside, tied = places.users[cut], end[cut] - k, places.tied[cut]
    nth = np.arange(len(users)) - np.searchsorted(users, users)  # 0, 1, ... within the user
    np.multiply.at(missed, users, np.maximum(outside - nth, 0) / (tied - nth))
    return 1.0 - missed


def recall_at_k(places: Placements, k: int) -> Doubles:
    """Share of a user's relevant items among the first k, over the orders of ties."""
    within = np.clip((_positive(k) - places.above) / places.tied, 0, 1)
    found = np.bincount(places.users, weights=within, minlength=places.n_users)
    return np.asarray(found / np.bincount(places.users, minlength=places.n_users), np.float64)


def mrr(places: Placements) -> Doubles:
    """Mean of 1 / rank of the first relevant item, over the orders of ties."""
    first = np.full(places.n_users, np.iinfo(np.int64).max)
    np.minimum.at(first, places.users, places.above)
    best = places.above == first[places.users]
    n_best = np.bincount(places.users[best], minlength=places.n_users)
    tied = np.ones(places.n_users, dtype=np.int64)
    tied[places.users[best]] = places.tied[best]
    rows = zip(first.tolist(), tied.tolist(), n_best.tolist(), strict=True)
    return np.array([_mean_reciprocal(*row) for row in rows])


def heldout_ndcg(users: Ints, predicted: Reals, actual: Reals) -> Doubles:
    """NDCG of each user's own rated items ranked by prediction, gain = rating; users ascending."""
    row_errors(predicted, actual)
    if actual.min() < 0:
        raise ValueError(f"a rating used as gain is negative: {float(actual.min())!r}")
    _, position = np.unique(users, return_inverse=True)
    reached = np.bincount(position, weights=actual * _shared_discount(position, predicted))
    best = np.bincount(position, weights=actual * _shared_discount(position, actual))
    return np.divide(reached, best, out=np.ones_like(best), where=best > 0)


def _positive(k: int) -> int:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k!r}")
    return k


def _discount(length: int) -> Doubles:
    discount: Doubles = 1.0 / np.log2(np.arange(length) + 2.0)
    return discount


def _mean_reciprocal(above: int, tied: int, relevant: int) -> float:
    # the first of n relevant places in a tie of g is later than j with C(g-j, n) / C(g, n)
    rank = np.arange(1, tied - relevant + 2)
    later = np.ones(len(rank))
    for drawn in range(relevant):
        later *= (tied - rank + 1 - drawn) / (tied - drawn)
    chance = later - np.append(later[1:], 0.0)
    return float((chance / (above + rank)).sum())


def _shared_discount(groups: Ints, scores: Reals) -> Doubles:
    order = np.lexsort((-scores, groups))
    ranked, score = groups[order], scores[order]
    place_in_group = np.arange(len(order)) - np.searchsorted(ranked, ranked)
    new = np.append(True, (ranked[1:] != ranked[:-1]) | (score[1:] != score[:-1]))
    tie = np.cumsum(new) - 1
    discount = 1.0 / np.log2(place_in_group + 2.0)
    shared = np.empty(len(order))
    shared[order] = (np.bincount(tie, weights=discount) / np.bincount(tie))[tie]
    return shared
