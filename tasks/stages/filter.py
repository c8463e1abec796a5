"""A raw ratings file as a k-core domain of dense indices."""

from dataclasses import dataclass, field

import polars as pl
from pydantic import TypeAdapter

from data_contracts.ratings import FilterCounts, Items, Users, k_core
from metaem_core.data.ratings import RatingScale
from tasks.sources.base import LAYOUT, RawFile
from tasks.sources.read import read_ratings
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage

_RAW_FILE = TypeAdapter(RawFile)


@dataclass(frozen=True)
class FilterConfig:
    """Which ratings count."""

    k: int = 5  # every user and item keeps at least so many ratings
    strict: bool = True  # refuse a file with invalid lines; otherwise drop and count them
    scale: RatingScale | None = field(default_factory=RatingScale)  # None: lines are choices

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k!r}")


@stage("filter")
def filter_ratings(store: Store, config: FilterConfig, raw: ArtifactRef) -> ArtifactRef:
    """Read and validate the raw file, remove duplicates and apply the k-core."""
    fetched = _RAW_FILE.validate_json(store.file(raw, LAYOUT).read_bytes())
    path = store.file(raw, fetched.file)
    filtered = read_ratings(path, fetched.layout, config.scale, config.k, config.strict)
    with store.draft() as draft:
        draft.write_frame("ratings.parquet", filtered.ratings, k_core(config.k))
        draft.write_frame("users.parquet", filtered.users, Users)
        draft.write_frame("items.parquet", filtered.items, Items)
        counts = FilterCounts.cast(pl.DataFrame([filtered.counts]))
        draft.write_frame("counts.parquet", counts, FilterCounts)
    return draft.ref
