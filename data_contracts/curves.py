"""How a training went, epoch by epoch."""

import dataframely as dy
import polars as pl


class LearningCurve(dy.Schema):
    """One row an epoch; validation errors are null where nothing was validated."""

    epoch = dy.UInt32(min=1)
    loss = dy.Float64(min=0)
    validation_mae = dy.Float64(nullable=True, min=0)
    validation_rmse = dy.Float64(nullable=True, min=0)
    ratings = dy.UInt64()

    @dy.rule()
    def epochs_follow_each_other(cls) -> pl.Expr:
        return pl.col("epoch") == pl.col("epoch").shift() + 1


class ExperimentCurves(dy.Schema):
    """The learning curves of an experiment's training stages, one after the other."""

    stage = dy.String(primary_key=True, min_length=1)
    epoch = dy.UInt32(primary_key=True, min=1)
    loss = dy.Float64(min=0)
    validation_mae = dy.Float64(nullable=True, min=0)
    validation_rmse = dy.Float64(nullable=True, min=0)
    ratings = dy.UInt64()
