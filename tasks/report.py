"""All experiments of a run in one table, with figures and a readable account."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from data_contracts.scores import Summary
from metaem_core.significance import paired_p_value
from tasks.artifacts import ArtifactRef, Store
from tasks.caching import stage
from tasks.figures import draw_curves, draw_scores
from tasks.markdown import write_report

SQUARED = {"rmse": pl.col("mse"), "mae": pl.col("mae")}  # a user's mean loss behind each metric


@dataclass(frozen=True)
class ReportConfig:
    """What the table compares."""

    reference: str = "bias_transfer"  # the method that p-values are against


@stage("report")
def report(store: Store, config: ReportConfig, evaluations: list[ArtifactRef]) -> ArtifactRef:
    """Mean and standard deviation over seeds of every score, and who beats the reference."""
    scores = pl.concat(_labelled(store, ref, "scores.parquet") for ref in evaluations)
    errors = pl.concat(_labelled(store, ref, "user_errors.parquet") for ref in evaluations)
    summary = summarise(scores, errors, config.reference)
    with store.draft() as draft:
        draft.write_frame("summary.parquet", summary, Summary)
        draft.path("report.md").write_text(write_report(summary, config.reference))
        draw_scores(summary, draft.path("scores.png"))
        draw_curves([_curves(store, ref) for ref in evaluations], draft.path("curves.png"))
    return draft.ref


def summarise(scores: pl.DataFrame, errors: pl.DataFrame, reference: str) -> pl.DataFrame:
    """Scores by (task, beta, method, metric) over the seeds, in the order they first appear."""
    keys = ["task", "beta", "method", "metric"]
    if reference not in scores["method"]:
        raise ValueError(f"unknown reference method {reference!r}: {_methods(scores)}")
    table = scores.group_by(keys, maintain_order=True).agg(
        pl.len().cast(pl.UInt32).alias("seeds"),
        pl.col("value").mean().alias("mean"),
        pl.col("value").std().alias("sd"),  # null for a single seed
    )
    return table.join(p_values(errors, reference), on=keys, how="left")


def p_values(errors: pl.DataFrame, reference: str) -> pl.DataFrame:
    """Each method's paired test against the reference, for the metrics that are sums over users.

    The difference tested is a user's loss summed over all his held-out ratings of all seeds: it
    averages to zero exactly when the two methods' errors over all these ratings are equal.
    """
    rows = []
    for metric, loss in SQUARED.items():
        summed = errors.with_columns(loss=loss * pl.col("ratings"))
        mine = summed.filter(pl.col("method") != reference)
        base = summed.filter(pl.col("method") == reference)
        paired = mine.join(base, on=["task", "beta", "seed", "user_id"], suffix="_reference")
        differences = paired.group_by("task", "beta", "method", "user_id").agg(
            (pl.col("loss") - pl.col("loss_reference")).sum().alias("difference")
        )
        groups = differences.sort("user_id").group_by("task", "beta", "method")
        for (task, beta, method), group in groups:
            p = paired_p_value(group["difference"].to_numpy()) if group.height > 1 else None
            rows.append((task, beta, method, metric, p))
    schema = {
        "task": pl.String,
        "beta": pl.Float64,
        "method": pl.String,
        "metric": pl.String,
        "p_value": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _labelled(store: Store, ref: ArtifactRef, name: str) -> pl.DataFrame:
    about = store.read_json(ref, "experiment.json")
    assert isinstance(about, dict)
    return store.read_frame(ref, name).with_columns(
        task=pl.lit(about["task"]),
        beta=pl.lit(about["beta"], pl.Float64),
        seed=pl.lit(about["seed"], pl.Int64),
    )


def _curves(store: Store, ref: ArtifactRef) -> pl.DataFrame:
    return _labelled(store, ref, "curves.parquet")


def _methods(scores: pl.DataFrame) -> Sequence[str]:
    return scores["method"].unique(maintain_order=True).to_list()
