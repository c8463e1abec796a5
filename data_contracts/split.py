"""Which overlap users train the mapping, which choose its stopping, and which stay cold."""

import dataframely as dy
import polars as pl

ROLES = ("train", "validation", "cold")


class Split(dy.Schema):
    """One row an overlap user."""

    user_id = dy.String(min_length=1)
    role = dy.String(check=lambda role: role.is_in(ROLES))

    @dy.rule()
    def ids_ascend(cls) -> pl.Expr:
        return pl.col("user_id") > pl.col("user_id").shift()
