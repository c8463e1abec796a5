"""Counts of a raw file's lines: removed by reading and filtering, by reason, and kept."""

import dataframely as dy
import polars as pl

INVALID = (
    "malformed",
    "blank_id",
    "blank_rating",
    "not_a_number",
    "not_finite",
    "off_scale",
    "bad_timestamp",
)
DROPPED = (*INVALID, "duplicates", "k_core_removed")


class FilterCounts(dy.Schema):
    """One row; ``lines`` are data lines, each kept in ``ratings`` or dropped for one reason."""

    lines = dy.UInt64(min=1)
    malformed = dy.UInt64()
    blank_id = dy.UInt64()
    blank_rating = dy.UInt64()
    not_a_number = dy.UInt64()
    not_finite = dy.UInt64()
    off_scale = dy.UInt64()
    bad_timestamp = dy.UInt64()
    duplicates = dy.UInt64()
    k_core_removed = dy.UInt64()
    rounds = dy.UInt32()
    users = dy.UInt32(min=1)
    items = dy.UInt32(min=1)
    ratings = dy.UInt64(min=1)

    @dy.rule()
    def every_line_is_kept_or_dropped_for_one_reason(cls) -> pl.Expr:
        return pl.col("lines") == pl.col("ratings") + pl.sum_horizontal(*DROPPED)
