"""A user's recommendations."""

import dataframely as dy
import polars as pl


class Recommendations(dy.Schema):
    """A user's best items of the target, the best first: by choice, or else by predicted stars."""

    user_id = dy.String(primary_key=True, min_length=1)
    rank = dy.UInt32(primary_key=True, min=1)
    item_id = dy.String(min_length=1)
    score = dy.Float32(nullable=True)  # of choice; null: listed by stars
    prediction = dy.Float32(nullable=True)  # expected stars, not clipped; null: there are none
    because = dy.List(
        dy.String(), nullable=True
    )  # source items that raise it most; null: not requested

    @dy.rule()
    def ranks_count_from_one(cls) -> pl.Expr:
        return pl.col("rank").max().over("user_id") == pl.len().over("user_id")

    @dy.rule()
    def no_item_twice(cls) -> pl.Expr:
        return pl.struct("user_id", "item_id").is_unique()

    @dy.rule()
    def best_first(cls) -> pl.Expr:
        worth = pl.coalesce("score", "prediction")
        fall = worth.diff().over("user_id", order_by="rank").fill_null(0) <= 0
        return worth.is_not_null() & fall
