"""The figures of the paper's Table 2 for one pair of domains."""

from dataclasses import dataclass

import numpy as np

from metaem_core.data.ratings import Ratings


@dataclass(frozen=True)
class DomainStatistics:
    """One domain's row."""

    users: int
    items: int
    ratings: int
    density: float  # ratings / (users x items)
    mean_rating: float


@dataclass(frozen=True)
class PairStatistics:
    """Both domains and the users they share."""

    source: DomainStatistics
    target: DomainStatistics
    overlap: int


def domain_statistics(ratings: Ratings) -> DomainStatistics:
    """Counts what is rated: an index without a rating is no user and no item."""
    users, items = len(np.unique(ratings.users)), len(np.unique(ratings.items))
    if len(ratings) == 0:
        raise ValueError("a domain without ratings has no statistics; check the filter")
    return DomainStatistics(
        users=users,
        items=items,
        ratings=len(ratings),
        density=len(ratings) / (users * items),
        mean_rating=float(ratings.values.mean(dtype=np.float64)),
    )


def pair_statistics(source: Ratings, target: Ratings, overlap: int) -> PairStatistics:
    """``overlap`` counts the users present in both domains."""
    pair = PairStatistics(domain_statistics(source), domain_statistics(target), overlap)
    if not 0 <= overlap <= min(pair.source.users, pair.target.users):
        raise ValueError(
            f"overlap {overlap!r} does not lie between 0 and the smaller domain's "
            f"{min(pair.source.users, pair.target.users)} users"
        )
    return pair
