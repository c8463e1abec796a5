"""Writes frames of user_id, item_id, rating, timestamp the way Amazon's files are laid out."""

import gzip
import json
from pathlib import Path

import polars as pl

HEADER_2014 = ["user_id", "item_id", "rating", "timestamp"]
HEADER_2018 = ["item_id", "user_id", "rating", "timestamp"]


def write_amazon_2014_json(frame: pl.DataFrame, path: Path) -> None:
    """``reviews_<Category>_5.json.gz``; 2018's 5-core files have the same keys."""
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
        for user, item, rating, timestamp in frame.select(HEADER_2014).iter_rows():
            review = {
                "reviewerID": user,
                "asin": item,
                "reviewerName": 'J. "Jo" Müller, Esq.',
                "helpful": [0, 2],
                "reviewText": "Loved it {really}.\nWould hear again, twice.",
                "overall": rating,
                "summary": "ok\\",
                "unixReviewTime": timestamp,
                "reviewTime": "07 9, 2012",
            }
            file.write(json.dumps(review) + "\n")


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
