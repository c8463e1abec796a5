"""Writes frames of user_id, item_id, rating, timestamp the way Amazon's files are laid out."""

import gzip
from pathlib import Path

import polars as pl

HEADER_2014 = ["user_id", "item_id", "rating", "timestamp"]
HEADER_2018 = ["item_id", "user_id", "rating", "timestamp"]


def write_amazon_2014_json(frame: pl.DataFrame, path: Path) -> None:
    """``reviews_<Category>_5.json.gz``; 2018's 5-core files have the same keys."""
    reviews = frame.select(
        reviewerID="user_id",
        asin="item_id",
        reviewerName=pl.lit('J. "Jo" Müller, Esq.'),
        helpful=pl.lit([0, 2]),
        reviewText=pl.lit("Loved it {really}.\nWould hear again, twice."),
        overall="rating",
        summary=pl.lit("ok\\"),
        unixReviewTime="timestamp",
        reviewTime=pl.lit("07 9, 2012"),
    )
    path.write_bytes(gzip.compress(reviews.write_ndjson().encode(), compresslevel=1))


def write_amazon_2014_csv(frame: pl.DataFrame, path: Path) -> None:
    """``ratings_<Category>.csv``: plain, no header."""
    frame.select(HEADER_2014).write_csv(path, include_header=False)


def write_amazon_2018_csv(frame: pl.DataFrame, path: Path) -> None:
    """``<Category>.csv``: plain, no header, the item first."""
    frame.select(HEADER_2018).write_csv(path, include_header=False)


def write_amazon_2023_csv(frame: pl.DataFrame, path: Path) -> None:
    """``5core/rating_only/<Category>.csv.gz`` with a header."""
    named = frame.select(HEADER_2014).rename({"item_id": "parent_asin"})
    path.write_bytes(gzip.compress(named.write_csv().encode(), compresslevel=1))
