"""Scores of each method and metric, and each user's errors."""

import dataframely as dy
import polars as pl


class Scores(dy.Schema):
    """One row a method and metric."""

    method = dy.String(primary_key=True, min_length=1)
    metric = dy.String(primary_key=True, regex=r"^[A-Za-z][A-Za-z0-9_]*$")
    value = dy.Float64(min=0)


class UserErrors(dy.Schema):
    """One row a method and cold user; errors are of clipped predictions."""

    method = dy.String(primary_key=True, min_length=1)
    user_id = dy.String(primary_key=True, min_length=1)
    ratings = dy.UInt32(min=1)
    mae = dy.Float64(min=0)
    mse = dy.Float64(min=0)

    @dy.rule()
    def mean_square_bounds_squared_mean(cls) -> pl.Expr:
        return pl.col("mse") >= pl.col("mae") ** 2 - 1e-9


class Summary(dy.Schema):
    """One row a method, cold fraction and metric over the seeds; p against the reference.

    One seed has no deviation.
    """

    task = dy.String(primary_key=True, min_length=1)
    beta = dy.Float64(primary_key=True, min=0, max=1)
    method = dy.String(primary_key=True, min_length=1)
    metric = dy.String(primary_key=True, min_length=1)
    seeds = dy.UInt32(min=1)
    mean = dy.Float64()
    sd = dy.Float64(nullable=True, min=0)
    p_value = dy.Float64(nullable=True, min=0, max=1)

    @dy.rule()
    def several_seeds_have_a_deviation(cls) -> pl.Expr:
        return pl.col("sd").is_null() == (pl.col("seeds") == 1)
