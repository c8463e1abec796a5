"""Figure 2: target and transformed user vectors in two dimensions, and how close they are."""

import dataframely as dy
import polars as pl

USERS = ("train", "cold")
KINDS = ("target", "transformed")


class Points(dy.Schema):
    """One row a drawn user and kind of vector, without the user's id."""

    method = dy.String(min_length=1)
    users = dy.String(check=lambda users: users.is_in(USERS))
    kind = dy.String(check=lambda kind: kind.is_in(KINDS))
    x = dy.Float32()
    y = dy.Float32()

    @dy.rule()
    def every_user_has_both_vectors(cls) -> pl.Expr:
        one_panel = ("method", "users")
        return (pl.col("kind") == "target").sum().over(one_panel) * 2 == pl.len().over(one_panel)


class Closeness(dy.Schema):
    """One row a method and group of users: mean distances of target and transformed vectors."""

    method = dy.String(primary_key=True, min_length=1)
    users = dy.String(primary_key=True, check=lambda users: users.is_in(USERS))
    count = dy.UInt32(min=1)
    own = dy.Float64(min=0)  # of the same user
    others = dy.Float64(min=0)  # of two users
    damping = dy.Float64(min=0)  # of the fold-in
    fold_in = dy.Float64(min=0, nullable=True)  # training users: from own vector to fold-in

    @dy.rule()
    def only_training_users_have_a_vector_of_their_own(cls) -> pl.Expr:
        return (pl.col("users") == "train") == pl.col("fold_in").is_not_null()
