"""Twins: items of two domains with nearly the same raters, as one product listed in both has."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from metaem_core.data.filtering import core
from metaem_core.data.ratings import Ints, Ratings

FEWEST = 4  # shared raters; with fewer, two unrelated items may share all by chance
NEARLY_ALL = 0.8  # of the users who rated either: of five raters one may differ
ITEMS_AT_ONCE = 4096


@dataclass(frozen=True)
class Twins:
    """Pairs (P,) of items, by source item; an item may have several twins."""

    source: Ints
    target: Ints
    raters: Ints  # who rated both
    jaccard: NDArray[np.float64]  # their share of the users of both domains who rated either


def find_twins(source: Ratings, target: Ratings, in_source: Ints, in_target: Ints) -> Twins:
    """Every twin, by the ratings of the users of both domains.

    Args:
        in_source: source indices (S,) of these users.
        in_target: the same users' target indices.
    """
    ours, theirs = _raters(source, in_source), _raters(target, in_target)
    our_counts, their_counts = (np.diff(each.indptr) for each in (ours, theirs))
    users = theirs.T.tocsr()  # (S, n_target)
    blocks = []
    for start in range(0, source.n_items, ITEMS_AT_ONCE):
        both = (ours[start : start + ITEMS_AT_ONCE] @ users).tocoo()
        rows = both.row + start
        shares = both.data / (our_counts[rows] + their_counts[both.col] - both.data)
        kept = (both.data >= FEWEST) & (shares >= NEARLY_ALL)
        columns = (rows, both.col, both.data, shares)
        blocks.append([column[kept] for column in columns])
    first, second, raters, jaccard = map(np.concatenate, zip(*blocks, strict=True))
    order = np.lexsort((second, first))
    first, second, raters = (part[order].astype(np.int64) for part in (first, second, raters))
    return Twins(first, second, raters, jaccard[order])


def without_twins(
    source: Ratings, target: Ratings, in_source: Ints, in_target: Ints, k: int
) -> tuple[Ints, list[Twins]]:
    """The source's ratings (R,) that are left without its twins, a ``k``-core again, and these.

    A user who leaves the core is no longer one of both domains, which may make further twins: the
    search is repeated until there are none.
    """
    rows, found = np.arange(len(source)), list[Twins]()
    while True:
        left = source.where(rows)
        both = np.bincount(left.users, minlength=source.n_users)[in_source] > 0
        twins = find_twins(left, target, in_source[both], in_target[both])
        found.append(twins)
        if len(twins.source) == 0:
            return rows, found
        rows = rows[~np.isin(left.items, twins.source)]
        rows = rows[core(source.users[rows], source.items[rows], k)]


def _raters(ratings: Ratings, users: Ints) -> csr_matrix:
    """Which of ``users`` rated each item (n_items, S)."""
    place = np.full(ratings.n_users, -1)
    place[users] = np.arange(len(users))
    rows = place[ratings.users]
    known = rows >= 0
    ones = np.ones(int(known.sum()), dtype=np.int32)
    shape = ratings.n_items, len(users)
    return csr_matrix((ones, (ratings.items[known], rows[known])), shape=shape)
