"""Table 2: how large each domain and their overlap are."""

import dataframely as dy
import polars as pl


class DomainStatistics(dy.Schema):
    """One row a domain of one task."""

    domain = dy.String(primary_key=True, min_length=1)
    users = dy.UInt32(min=1)
    items = dy.UInt32(min=1)
    ratings = dy.UInt64(min=1)
    overlap = dy.UInt32()
    density = dy.Float64(min_exclusive=0, max=1)
    mean_rating = dy.Float64()

    @dy.rule()
    def overlap_users_are_users(cls) -> pl.Expr:
        return pl.col("overlap") <= pl.col("users")
