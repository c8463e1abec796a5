"""Learning curves."""

import dataframely as dy
import polars as pl


class LearningCurve(dy.Schema):
    """One row an epoch."""

    epoch = dy.UInt32(min=1)
    loss = dy.Float64(min=0)
    validation_mae = dy.Float64(min=0, nullable=True)
    validation_rmse = dy.Float64(min=0, nullable=True)
    ratings = dy.UInt64()

    @dy.rule()
    def epochs_count_from_one(cls) -> pl.Expr:
        return pl.col("epoch") == pl.int_range(pl.len()) + 1

    @dy.rule()
    def both_errors_are_validated_or_neither(cls) -> pl.Expr:
        return pl.col("validation_mae").is_null() == pl.col("validation_rmse").is_null()


class ExperimentCurves(dy.Schema):
    """The learning curves of an experiment's training stages, one after the other."""

    stage = dy.String(primary_key=True, min_length=1)
    epoch = dy.UInt32(primary_key=True, min=1)
    loss = dy.Float64(min=0)
    validation_mae = dy.Float64(min=0, nullable=True)
    validation_rmse = dy.Float64(min=0, nullable=True)
    ratings = dy.UInt64()
