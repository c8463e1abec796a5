"""Table 2: how large each domain and their overlap are."""

import dataframely as dy
import polars as pl


class DomainStatistics(dy.Schema):
    """One row a domain of one task."""

    domain = dy.String(primary_key=True, min_length=1)
    users = dy.UInt32()
    items = dy.UInt32()
    ratings = dy.UInt64()
    overlap = dy.UInt32()

    @dy.rule()
    def overlap_users_are_users(cls) -> pl.Expr:
        return pl.col("overlap") <= pl.col("users")
