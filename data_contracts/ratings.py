"""A filtered domain: its ratings, its users and items by row number."""

import dataframely as dy
import polars as pl


class Ratings(dy.Schema):
    """One row a rating; ``user`` and ``item`` are row numbers of the two id tables."""

    user = dy.UInt32()
    item = dy.UInt32()
    rating = dy.Float32()
    timestamp = dy.Int64(nullable=True)

    @dy.rule()
    def sorted_by_user_and_item_without_duplicates(cls) -> pl.Expr:
        user, item = pl.col("user"), pl.col("item")
        same_user = user == user.shift()
        return (user > user.shift()) | (same_user & (item > item.shift()))


def k_core(k: int) -> type[Ratings]:
    """Ratings in which every user and every item has at least ``k``."""

    class KCoreRatings(Ratings):
        @dy.rule()
        def every_user_has_k_ratings(cls) -> pl.Expr:
            return pl.len().over("user") >= k

        @dy.rule()
        def every_item_has_k_ratings(cls) -> pl.Expr:
            return pl.len().over("item") >= k

    return KCoreRatings


class Users(dy.Schema):
    """The users; the row number is the dense index."""

    user_id = dy.String(min_length=1)

    @dy.rule()
    def ids_ascend(cls) -> pl.Expr:
        return pl.col("user_id") > pl.col("user_id").shift()


class Items(dy.Schema):
    """The items; the row number is the dense index."""

    item_id = dy.String(min_length=1)

    @dy.rule()
    def ids_ascend(cls) -> pl.Expr:
        return pl.col("item_id") > pl.col("item_id").shift()
