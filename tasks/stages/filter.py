"""A raw ratings file as a k-core domain of dense indices."""

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from data_contracts.counts import FilterCounts
from data_contracts.ratings import Items, Users, k_core
from metaem_core.data.ratings import RatingScale
from tasks.sources.base import LAYOUT, Columns, Layout, Local, Location
from tasks.sources.read import read_ratings
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage


@dataclass(frozen=True)
class FilterConfig:
    """Which ratings count."""

    k: int = 5  # every user and item keeps at least so many ratings
    strict: bool = True  # refuse a file with invalid lines; otherwise drop and count them
    scale: RatingScale = field(default_factory=RatingScale)

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k!r}")


@stage("filter")
def filter_ratings(store: Store, config: FilterConfig, raw: ArtifactRef) -> ArtifactRef:
    """Read, validate and peel the raw file."""
    source = _fetched(store, raw)
    filtered = read_ratings(source.file, source, config.scale, config.k, config.strict)
    with store.draft() as draft:
        draft.write_frame("ratings.parquet", filtered.ratings, k_core(config.k))
        draft.write_frame("users.parquet", filtered.users, Users)
        draft.write_frame("items.parquet", filtered.items, Items)
        counts = FilterCounts.cast(pl.DataFrame([filtered.counts]))
        draft.write_frame("counts.parquet", counts, FilterCounts)
    return draft.ref


@dataclass(frozen=True)
class _Fetched:
    """The source of a file that is here already, with the layout noted beside it."""

    file: Path
    noted: Layout

    def location(self, domain: str) -> Location:
        return Local(self.file.name, self.file)

    def layout(self, path: Path) -> Layout:
        return self.noted


def _fetched(store: Store, raw: ArtifactRef) -> _Fetched:
    about = store.read_json(raw, LAYOUT)
    assert isinstance(about, dict)
    columns = Columns(**about.pop("columns"))
    header = tuple(about.pop("header") or ()) or None
    file = store.file(raw, about.pop("file"))
    return _Fetched(file, Layout(columns=columns, header=header, **about))
