"""Histories of users: their ratings in the source, and the target items they have seen."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import polars as pl

from metaem_core.data.ratings import RatingScale
from tasks.sources.columns import BadHeader
from tasks.sources.files import Files
from tasks.sources.read import read_ratings
from tasks.store.artifacts import ArtifactRef, Store

HISTORY = {"user_id": pl.String, "item_id": pl.String, "rating": pl.Float32}


class Histories(NamedTuple):
    """The source ratings of users to recommend to, and what they have seen of the target."""

    ratings: pl.DataFrame  # user_id, item_id, rating; of source items; no rating: all choices
    seen: pl.DataFrame  # user_id, item_id; target items not to recommend

    @property
    def rated(self) -> bool:
        """Whether there are ratings, or choices alone."""
        ratings = self.ratings["rating"]
        return ratings.null_count() < len(ratings)


def new_users(file: Path, source: Files, scale: RatingScale | None) -> Histories:
    """The users of a file of ratings, in any form that ``--source files`` reads.

    Without a ``scale``, or in a file without a column of ratings, every line is a choice.
    """
    if not file.is_file():
        raise ValueError(f"no file {str(file)!r}: --history takes one of ratings")
    layout = source.layout(file)
    try:
        read = read_ratings(file, layout, scale, k=1)
    except BadHeader:
        scale, read = None, read_ratings(file, layout, None, k=1)
    ratings = read.ratings.select(
        user_id=read.users["user_id"].gather(read.ratings["user"]),
        item_id=read.items["item_id"].gather(read.ratings["item"]),
        rating="rating" if scale else pl.lit(None, pl.Float32),
    )
    return Histories(ratings, pl.DataFrame(schema=HISTORY).drop("rating"))


def known_users(store: Store, parts: Mapping[str, ArtifactRef], ids: Collection[str]) -> Histories:
    """Users of the filtered source by id."""
    ratings = _ratings_of(store, parts["source"], ids)
    known = {*ratings["user_id"].unique()}
    if missing := [user for user in ids if user not in known]:
        raise ValueError(
            f"{len(missing)} of {len(ids)} users are not in the source domain after filtering, "
            f"the first is {missing[0]!r}: give their ratings with --history"
        )
    return Histories(ratings, _ratings_of(store, parts["target"], ids).drop("rating"))


def cold_users(store: Store, parts: Mapping[str, ArtifactRef]) -> Histories:
    """All users of the source who are not in the target."""
    source, target = (
        store.read_frame(parts[side], "users.parquet") for side in ("source", "target")
    )
    cold = source.join(target, on="user_id", how="anti")["user_id"].to_list()
    if not cold:
        raise ValueError("every user of the source is in the target too: name some with --user")
    return Histories(_ratings_of(store, parts["source"], cold), pl.DataFrame(schema=HISTORY))


def _ratings_of(store: Store, domain: ArtifactRef, ids: Collection[str]) -> pl.DataFrame:
    """The ratings of these users in a domain, by id."""
    users, items = (store.read_frame(domain, f"{side}.parquet") for side in ("users", "items"))
    chosen = users.with_row_index("user").filter(pl.col("user_id").is_in([*ids]))
    rated = store.read_frame(domain, "ratings.parquet").join(chosen, on="user")
    return rated.join(items.with_row_index("item"), on="item").select(*HISTORY)
