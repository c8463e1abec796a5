"""A user's recommendations."""

import dataframely as dy
import polars as pl


class Recommendations(dy.Schema):
    """A user's best items of the target, the best first; ``prediction`` is not clipped."""

    user_id = dy.String(primary_key=True, min_length=1)
    rank = dy.UInt32(primary_key=True, min=1)
    item_id = dy.String(min_length=1)
    prediction = dy.Float32()
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
        return pl.col("prediction").diff().over("user_id", order_by="rank").fill_null(0) <= 0
