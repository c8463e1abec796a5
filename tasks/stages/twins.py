"""Items that are probably the same product in both domains, and a source without them."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from data_contracts.ratings import FilterCounts, Items, Twins, Users, k_core
from metaem_core.data.ratings import Ints
from metaem_core.data.twins import Twins as Found
from metaem_core.data.twins import find_twins, without_twins
from tasks.models.data import Domain, read_domain
from tasks.store.artifacts import ArtifactRef, Draft, Store
from tasks.store.stage import stage


@dataclass(frozen=True)
class TwinsConfig:
    """What becomes of twins."""

    drop: bool = False  # leave them out of the source
    k: int = 5  # of the source's k-core, with drop


class Shared(NamedTuple):
    """The users of both domains by their index in each (S,)."""

    in_source: Ints
    in_target: Ints

    @classmethod
    def of(cls, source: Domain, target: Domain) -> "Shared":
        ids = source.user_ids.filter(source.user_ids.is_in(target.user_ids.implode()))
        return cls(source.users(ids), target.users(ids))


@stage("twins")
def twins(
    store: Store, config: TwinsConfig, source: ArtifactRef, target: ArtifactRef
) -> ArtifactRef:
    """List the twins; with ``drop`` what is left of the source is a domain as the filter's."""
    ours, theirs = read_domain(store, source), read_domain(store, target)
    pair = ours.ratings, theirs.ratings, *Shared.of(ours, theirs)
    with store.draft() as draft:
        if config.drop:
            rows, found = without_twins(*pair, config.k)
            _write_rest(draft, store, source, rows, found, config.k)
        else:
            found = [find_twins(*pair)]
        draft.write_frame("twins.parquet", _pairs(ours, theirs, found), Twins)
    return draft.ref


def _pairs(source: Domain, target: Domain, found: list[Found]) -> pl.DataFrame:
    frames = [
        pl.DataFrame(
            {
                "source_item": source.item_ids.gather(each.source),
                "target_item": target.item_ids.gather(each.target),
                "raters": each.raters,
                "jaccard": each.jaccard,
            }
        )
        for each in found
    ]
    return Twins.cast(pl.concat(frames).sort("source_item", "target_item"))


def _write_rest(
    draft: Draft, store: Store, source: ArtifactRef, rows: Ints, found: list[Found], k: int
) -> None:
    """The source's ratings in ``rows``, with its users and items numbered anew."""
    before = store.read_frame(source, "ratings.parquet")
    ratings = before[rows]
    if ratings.is_empty():
        raise ValueError("no rating of the source is left without twins: use twins=keep")
    for side, schema in (("user", Users), ("item", Items)):
        kept, numbers = np.unique(ratings[side].to_numpy(), return_inverse=True)
        ids = store.read_frame(source, f"{side}s.parquet")[kept]
        draft.write_frame(f"{side}s.parquet", ids, schema)
        ratings = ratings.with_columns(pl.Series(side, numbers, dtype=pl.UInt32))
    draft.write_frame("ratings.parquet", ratings, k_core(k))
    gone = np.concatenate([each.source for each in found])
    twins_removed = int(np.isin(before["item"].to_numpy(), gone).sum())
    counts = store.read_frame(source, "counts.parquet").with_columns(
        twins_removed=twins_removed,
        k_core_removed=pl.col("k_core_removed") + before.height - ratings.height - twins_removed,
        users=ratings["user"].n_unique(),
        items=ratings["item"].n_unique(),
        ratings=ratings.height,
    )
    draft.write_frame("counts.parquet", FilterCounts.cast(counts), FilterCounts)
