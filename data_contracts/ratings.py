"""Filtered domains: ratings, users and items by row number, counts, and the cold-start split."""

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
DROPPED = (*INVALID, "duplicates", "k_core_removed", "twins_removed")
ROLES = ("train", "validation", "cold")


def ascend(ids: pl.Expr) -> pl.Expr:
    """Whether each id is larger than the one before."""
    return ids > ids.shift()


class Ratings(dy.Schema):
    """One row a rating; ``user`` and ``item`` are row numbers of the two id tables.

    A choice is rated 1.
    """

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

    user_id = dy.String(min_length=1, check=ascend)


class Items(dy.Schema):
    """The items; the row number is the dense index."""

    item_id = dy.String(min_length=1, check=ascend)


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
    twins_removed = dy.UInt64()
    rounds = dy.UInt32()
    users = dy.UInt32(min=1)
    items = dy.UInt32(min=1)
    ratings = dy.UInt64(min=1)

    @dy.rule()
    def every_line_is_kept_or_dropped_for_one_reason(cls) -> pl.Expr:
        return pl.col("lines") == pl.col("ratings") + pl.sum_horizontal(*DROPPED)


class Twins(dy.Schema):
    """One row a pair of items of two domains with nearly the same raters."""

    source_item = dy.String(primary_key=True, min_length=1)
    target_item = dy.String(primary_key=True, min_length=1)
    raters = dy.UInt32(min=1)  # users who rated both
    jaccard = dy.Float64(min_exclusive=0, max=1)  # their share of the shared users of either


class DomainStatistics(dy.Schema):
    """Table 2: one row a domain of one task."""

    domain = dy.String(primary_key=True, min_length=1)
    users = dy.UInt32(min=1)
    items = dy.UInt32(min=1)
    ratings = dy.UInt64(min=1)
    overlap = dy.UInt32()
    density = dy.Float64(min_exclusive=0, max=1)
    mean_rating = dy.Float64(nullable=True)  # null: a domain of choices
    twins = dy.UInt32()  # items with a twin in the other domain, left out of a source or not

    @dy.rule()
    def overlap_users_are_users(cls) -> pl.Expr:
        return pl.col("overlap") <= pl.col("users")


class Split(dy.Schema):
    """One row an overlap user."""

    user_id = dy.String(min_length=1, check=ascend)
    role = dy.String(check=lambda role: role.is_in(ROLES))
