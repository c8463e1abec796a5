"""What an evaluation writes: predictions, scores, errors by user and group, learning curves."""

import dataframely as dy
import polars as pl

GROUPINGS = ("history", "popularity")  # the user's source ratings, the item's training ratings


class Predictions(dy.Schema):
    """One row a method and held-out rating; ``prediction`` is not clipped to the scale."""

    method = dy.String(primary_key=True, min_length=1)
    user_id = dy.String(primary_key=True, min_length=1)
    item_id = dy.String(primary_key=True, min_length=1)
    rating = dy.Float32()
    prediction = dy.Float32()


class Scores(dy.Schema):
    """One row a method and metric."""

    method = dy.String(primary_key=True, min_length=1)
    metric = dy.String(primary_key=True, regex=r"^[A-Za-z][A-Za-z0-9_]*$")
    value = dy.Float64(min=0)


class UserErrors(dy.Schema):
    """One row a method and cold user; errors are of clipped means, and of medians."""

    method = dy.String(primary_key=True, min_length=1)
    user_id = dy.String(primary_key=True, min_length=1)
    ratings = dy.UInt32(min=1)
    mae = dy.Float64(min=0)
    mse = dy.Float64(min=0)
    median_mae = dy.Float64(min=0)

    @dy.rule()
    def mean_square_bounds_squared_mean(cls) -> pl.Expr:
        return pl.col("mse") >= pl.col("mae") ** 2 - 1e-9


class Calibration(dy.Schema):
    """One row a method and tenth of the probability that a user likes an item, where there is any.

    Sums over held-out ratings, so that cells and seeds can be added up.
    """

    method = dy.String(primary_key=True, min_length=1)
    tenth = dy.UInt32(primary_key=True, max=9)
    ratings = dy.UInt64(min=1)
    expected = dy.Float64(min=0)  # sum of the probabilities
    liked = dy.UInt64()  # ratings above the scale's middle

    @dy.rule()
    def no_more_are_liked_than_rated(cls) -> pl.Expr:
        return pl.col("liked") <= pl.col("ratings")


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


class ExperimentCurves(dy.Schema):
    """The learning curves of an experiment's training stages, one after the other."""

    stage = dy.String(primary_key=True, min_length=1)
    epoch = dy.UInt32(primary_key=True, min=1)
    loss = dy.Float64(min=0)
    validation_mae = dy.Float64(min=0, nullable=True)
    validation_rmse = dy.Float64(min=0, nullable=True)
    ratings = dy.UInt64()


RELEVANT = ("chosen", "liked")  # every held-out item; those that the user rated highly

PROTOCOLS = ("", *RELEVANT, "sampled")  # sampled: each chosen item among random others


class ListScores(dy.Schema):
    """One row a method, measure and what is relevant ("": a measure that does not depend on it)."""

    method = dy.String(primary_key=True, min_length=1)
    relevant = dy.String(primary_key=True, check=lambda name: name.is_in(PROTOCOLS))
    metric = dy.String(primary_key=True, regex=r"^[A-Za-z][A-Za-z0-9_]*$")
    value = dy.Float64(min=0)


class UserLists(dy.Schema):
    """One row a method, cold user and what is relevant; users without a relevant item have none."""

    method = dy.String(primary_key=True, min_length=1)
    user_id = dy.String(primary_key=True, min_length=1)
    relevant = dy.String(primary_key=True, check=lambda name: name.is_in(RELEVANT))
    ndcg = dy.Float64(min=0, max=1)
    hr = dy.Float64(min=0, max=1)
    recall = dy.Float64(min=0, max=1)
    mrr = dy.Float64(min=0, max=1)
