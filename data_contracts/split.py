"""The cold-start split: training, validation and cold users of the overlap."""

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
