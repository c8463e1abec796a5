"""What a training writes beside its model: its learning curve, bytes, noisy sums."""

import dataframely as dy
import polars as pl

SPANS = ["device", "round", "epoch", "run"]


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


class TrainingTraffic(dy.Schema):
    """One row a span: a device's round in the mean, a round, an epoch, the whole training."""

    span = dy.Enum(SPANS, primary_key=True)
    down = dy.UInt64()
    up = dy.UInt64()

    @dy.rule()
    def longer_spans_cost_no_less(cls) -> pl.Expr:
        return (pl.col("down").diff().fill_null(0) >= 0) & (pl.col("up").diff().fill_null(0) >= 0)


class NoisyReleases(dy.Schema):
    """One row a noisy sum that a training under DP released."""

    release = dy.String(primary_key=True, min_length=1)
    clip = dy.Float64(min_exclusive=0)  # most that one user's part may measure
    deviation = dy.Float64(min=0)  # of the noise on every number; 0: none
