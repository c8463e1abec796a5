"""A report's tables: means over seeds, comparisons with references, groups, fairness, lists."""

import dataframely as dy
import polars as pl

from data_contracts.evaluation import PROTOCOLS, RELEVANT


class Cell(dy.Schema):
    """The columns of a cell; a report's tables add theirs."""

    task = dy.String(primary_key=True, min_length=1)
    beta = dy.Float64(primary_key=True, min=0, max=1)


class Summary(Cell):
    """One row a method, cold fraction and metric over the seeds; p against the reference.

    One seed has no deviation.
    """

    method = dy.String(primary_key=True, min_length=1)
    metric = dy.String(primary_key=True, min_length=1)
    seeds = dy.UInt32(min=1)
    mean = dy.Float64()
    sd = dy.Float64(nullable=True, min=0)
    p_value = dy.Float64(nullable=True, min=0, max=1)

    @dy.rule()
    def several_seeds_have_a_deviation(cls) -> pl.Expr:
        return pl.col("sd").is_null() == (pl.col("seeds") == 1)


class Comparisons(Cell):
    """One row a method, reference, metric and cell: the difference of means over seeds.

    A p-value is missing where there are not two users to compare.
    """

    metric = dy.String(primary_key=True, min_length=1)
    reference = dy.String(primary_key=True, min_length=1)
    method = dy.String(primary_key=True, min_length=1)
    difference = dy.Float64()  # below 0: better than the reference
    users = dy.UInt32(min=1)
    paired = dy.Float64()  # the mean over users of the differences that p_value is about
    effect = dy.Float64()  # the same in stars, over all ratings of all seeds
    low = dy.Float64(nullable=True)  # of its 95 % interval
    high = dy.Float64(nullable=True)
    p_value = dy.Float64(nullable=True, min=0, max=1)
    sign_p = dy.Float64(nullable=True, min=0, max=1)  # of the sign test
    holm_p = dy.Float64(nullable=True, min=0, max=1)  # p_value corrected for all cells and methods

    @dy.rule()
    def no_method_is_its_own_reference(cls) -> pl.Expr:
        return pl.col("method") != pl.col("reference")

    @dy.rule()
    def the_effect_is_in_its_interval(cls) -> pl.Expr:
        return pl.col("effect").is_between(pl.col("low") - 1e-9, pl.col("high") + 1e-9)


class GroupScores(Cell):
    """One row a cell, method and group, over all seeds; a user counts once a seed."""

    method = dy.String(primary_key=True, min_length=1)
    grouping = dy.String(primary_key=True, min_length=1)
    group = dy.String(primary_key=True, min_length=1)
    users = dy.UInt64(min=1)
    ratings = dy.UInt64(min=1)
    mae = dy.Float64(min=0)
    rmse = dy.Float64(min=0)
    user_mae = dy.Float64(min=0)  # mean over users

    @dy.rule()
    def mean_square_bounds_squared_mean(cls) -> pl.Expr:
        return pl.col("rmse") >= pl.col("mae") - 1e-9


class Fairness(Cell):
    """One row a cell and method: how unequally users are served; missing without large groups."""

    method = dy.String(primary_key=True, min_length=1)
    users = dy.UInt64(min=1)  # different ones
    user_mae = dy.Float64(min=0)  # mean over the users of each seed
    worst_tenth = dy.Float64(min=0)  # the same of the tenth with the largest
    best_group = dy.Float64(min=0, nullable=True)
    worst_group = dy.Float64(min=0, nullable=True)

    @dy.rule()
    def the_worst_are_no_better_than_all(cls) -> pl.Expr:
        return pl.col("worst_tenth") >= pl.col("user_mae") - 1e-9


class ListSummary(Cell):
    """One row a method, cold fraction, measure and what is relevant, over the seeds.

    Measures that do not depend on what is relevant have "" there. One seed has no deviation.
    """

    method = dy.String(primary_key=True, min_length=1)
    relevant = dy.String(primary_key=True, check=lambda name: name.is_in(PROTOCOLS))
    metric = dy.String(primary_key=True, min_length=1)
    seeds = dy.UInt32(min=1)
    mean = dy.Float64(min=0)
    sd = dy.Float64(nullable=True, min=0)

    @dy.rule()
    def several_seeds_have_a_deviation(cls) -> pl.Expr:
        return pl.col("sd").is_null() == (pl.col("seeds") == 1)


class ListComparisons(Cell):
    """One row a method, reference, cell and what is relevant: the difference of their NDCG.

    It is the mean over users and seeds, with a 95 % interval; a user is one observation. Without
    two users there is neither an interval nor a p-value.
    """

    relevant = dy.String(primary_key=True, check=lambda name: name.is_in(RELEVANT))
    reference = dy.String(primary_key=True, min_length=1)
    method = dy.String(primary_key=True, min_length=1)
    users = dy.UInt32(min=1)
    difference = dy.Float64()  # above 0: better than the reference
    low = dy.Float64(nullable=True)
    high = dy.Float64(nullable=True)
    p_value = dy.Float64(nullable=True, min=0, max=1)

    @dy.rule()
    def no_method_is_its_own_reference(cls) -> pl.Expr:
        return pl.col("method") != pl.col("reference")

    @dy.rule()
    def the_difference_is_in_its_interval(cls) -> pl.Expr:
        return pl.col("difference").is_between(pl.col("low") - 1e-9, pl.col("high") + 1e-9)
