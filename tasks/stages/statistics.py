"""The paper's Table 2 for one task."""

from dataclasses import dataclass

import polars as pl

from data_contracts.statistics import DomainStatistics
from metaem_core.data.statistics import pair_statistics
from tasks.models.data import read_domain
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage


@dataclass(frozen=True)
class StatisticsConfig:
    """What the two domains are called."""

    source: str
    target: str


@stage("statistics")
def statistics(
    store: Store, config: StatisticsConfig, source: ArtifactRef, target: ArtifactRef
) -> ArtifactRef:
    """Users, items, ratings, density and overlap of both domains."""
    source_domain, target_domain = read_domain(store, source), read_domain(store, target)
    overlap = source_domain.user_ids.is_in(target_domain.user_ids.implode()).sum()
    pair = pair_statistics(source_domain.ratings, target_domain.ratings, int(overlap))
    rows = [
        (name, each.users, each.items, each.ratings, pair.overlap, each.density, each.mean_rating)
        for name, each in ((config.source, pair.source), (config.target, pair.target))
    ]
    frame = pl.DataFrame(rows, schema=DomainStatistics.column_names(), orient="row")
    with store.draft() as draft:
        draft.write_frame("statistics.parquet", DomainStatistics.cast(frame), DomainStatistics)
    return draft.ref
