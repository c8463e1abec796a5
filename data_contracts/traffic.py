"""Bytes that a training sends and receives."""

import dataframely as dy
import polars as pl

SPANS = ["device", "round", "epoch", "run"]


class TrainingTraffic(dy.Schema):
    """One row a span: a device's round in the mean, a round, an epoch, the whole training."""

    span = dy.Enum(SPANS, primary_key=True)
    down = dy.UInt64()
    up = dy.UInt64()

    @dy.rule()
    def longer_spans_cost_no_less(cls) -> pl.Expr:
        return (pl.col("down").diff().fill_null(0) >= 0) & (pl.col("up").diff().fill_null(0) >= 0)
