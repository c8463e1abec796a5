"""Errors by history length and item popularity."""

import dataframely as dy
import polars as pl

GROUPINGS = ("history", "popularity")  # the user's source ratings, the item's training ratings


class GroupErrors(dy.Schema):
    """One row a method and group with ratings: sums, so that cells and seeds can be added up."""

    method = dy.String(primary_key=True, min_length=1)
    grouping = dy.String(primary_key=True, check=lambda name: name.is_in(GROUPINGS))
    group = dy.String(primary_key=True, min_length=1)
    users = dy.UInt32(min=1)
    ratings = dy.UInt64(min=1)
    absolute = dy.Float64(min=0)
    squared = dy.Float64(min=0)
    user_mae = dy.Float64(min=0)  # sum of the users' MAE within the group

    @dy.rule()
    def a_user_has_a_rating(cls) -> pl.Expr:
        return pl.col("users") <= pl.col("ratings")
