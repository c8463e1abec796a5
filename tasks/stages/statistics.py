"""The paper's Table 2 for one task."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from data_contracts.ratings import DomainStatistics
from metaem_core.data.ratings import Ratings
from tasks.models.data import read_domain
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage


@dataclass(frozen=True)
class StatisticsConfig:
    """What the two domains are called, and which have no stars."""

    source: str
    target: str
    without_stars: tuple[str, ...] = ()  # those of the two that hold choices


@stage("statistics")
def statistics(
    store: Store,
    config: StatisticsConfig,
    source: ArtifactRef,
    target: ArtifactRef,
    twins: ArtifactRef,
) -> ArtifactRef:
    """Users, items, ratings, density, overlap and twins of both domains."""
    source_domain, target_domain = read_domain(store, source), read_domain(store, target)
    overlap = source_domain.user_ids.is_in(target_domain.user_ids.implode()).sum()
    named = {config.source: source_domain.ratings, config.target: target_domain.ratings}
    rows = [figures(name, each, int(overlap)) for name, each in named.items()]
    unrated = pl.col("domain").is_in(config.without_stars)
    mean = pl.when(~unrated).then("mean_rating").alias("mean_rating")
    pairs = store.read_frame(twins, "twins.parquet")
    alike = [pairs[f"{side}_item"].n_unique() for side in ("source", "target")]
    frame = pl.DataFrame(rows).with_columns(mean, pl.Series("twins", alike))
    with store.draft() as draft:
        draft.write_frame("statistics.parquet", DomainStatistics.cast(frame), DomainStatistics)
    return draft.ref


def figures(name: str, ratings: Ratings, overlap: int) -> dict[str, str | float]:
    """A domain's row; an index without a rating is no user and no item."""
    if len(ratings) == 0:
        raise ValueError("a domain without ratings has no statistics; check the filter")
    users, items = len(np.unique(ratings.users)), len(np.unique(ratings.items))
    return {
        "domain": name,
        "users": users,
        "items": items,
        "ratings": len(ratings),
        "overlap": overlap,
        "density": len(ratings) / (users * items),
        "mean_rating": float(ratings.values.mean(dtype=np.float64)),
    }
