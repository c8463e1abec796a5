"""Means over seeds, paired tests over users, and errors by group, for one or more cells."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

# a user's mean loss behind each metric
LOSSES = {"mae": "mae", "median_mae": "median_mae", "rmse": "mse"}
CELL = ("task", "beta")
CONFIDENCE = 0.95  # of intervals
LEVEL = 0.05  # of significance
SMALL_GROUP = 20  # users: with fewer, a group's mean is chance


@dataclass(frozen=True)
class Tally:
    """In how many cells a method is better than a reference, and how significantly."""

    cells: int
    better: int
    significantly_better: int
    significantly_worse: int

    def __str__(self) -> str:
        parts = []
        if self.better or self.significantly_better:
            parts.append(f"{self.significantly_better} significantly")
        if self.significantly_worse:
            parts.append(f"{self.significantly_worse} significantly worse")
        return f"{self.better} of {self.cells} cells" + (f" ({', '.join(parts)})" if parts else "")


def summarise(scores: pl.DataFrame, tests: pl.DataFrame, reference: str) -> pl.DataFrame:
    """Scores by (task, beta, method, metric) over the seeds, in the order they first appear."""
    keys = [*CELL, "method", "metric"]
    table = scores.group_by(keys, maintain_order=True).agg(
        pl.len().cast(pl.UInt32).alias("seeds"),
        pl.col("value").mean().alias("mean"),
        pl.col("value").std().alias("sd"),  # null for a single seed
    )
    against = tests.filter(pl.col("reference") == reference).drop("reference", "paired")
    return table.join(against, on=keys, how="left", maintain_order="left")


def compare(summary: pl.DataFrame, tests: pl.DataFrame) -> pl.DataFrame:
    """Every method's mean beside every reference's, with the test of their difference."""
    means = summary.select(*CELL, "metric", "method", "mean")
    base = means.rename({"method": "reference", "mean": "reference_mean"})
    return (
        tests.join(means, on=[*CELL, "metric", "method"], maintain_order="left")
        .join(base, on=[*CELL, "metric", "reference"], maintain_order="left")
        .with_columns(difference=pl.col("mean") - pl.col("reference_mean"))
        .select(*CELL, "metric", "reference", "method", "difference", "paired", "p_value")
    )


def paired_tests(errors: pl.DataFrame, references: Sequence[str]) -> pl.DataFrame:
    """Each method's paired test against each reference, for the metrics that are sums over users.

    The difference tested is a user's loss, summed over all their held-out ratings of all seeds. It
    averages to zero exactly when the two methods' errors over all these ratings are equal.
    """
    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(["task", "metric", "reference", "method"], pl.String),
        **dict.fromkeys(["beta", "paired", "p_value"], pl.Float64),
    }
    rows = [
        (task, metric, reference, method, beta, paired, p)
        for (task, beta), cell in errors.group_by(*CELL, maintain_order=True)
        for metric, loss in LOSSES.items()
        for reference, method, paired, p in _tested(_losses(cell, loss), references)
    ]
    return pl.DataFrame(rows, schema=schema, orient="row")


def _losses(cell: pl.DataFrame, loss: str) -> pl.DataFrame:
    """The loss over all the user's ratings of all seeds."""
    return totals(cell.with_columns(value=pl.col(loss) * pl.col("ratings")))


def totals(cell: pl.DataFrame) -> pl.DataFrame:
    """A row a user, a column a method that has every seed: the sum of ``value`` over the seeds."""
    seeds = cell.pivot("method", index=["user_id", "seed"], values="value")
    everywhere = [name for name in seeds.columns[2:] if seeds[name].null_count() == 0]
    users = seeds.group_by("user_id", maintain_order=True).agg(pl.col(everywhere).sum())
    return users.sort("user_id").drop("user_id")


def _tested(
    losses: pl.DataFrame, references: Sequence[str]
) -> Iterator[tuple[str, str, float, float | None]]:
    for reference in (name for name in references if name in losses.columns):
        for method in losses.columns:
            if method != reference:
                differences = (losses[method] - losses[reference]).to_numpy()
                p = paired_p_value(differences)
                yield reference, method, float(differences.mean()), p


def paired_p_value(differences: NDArray[np.float64]) -> float | None:
    """Two-sided p of Student's paired t test on one difference a user.

    Returns:
        1 where nothing differs; None for a single user, of whom no test is possible.
    """
    from scipy.special import stdtr  # costs a second

    freedom = len(differences) - 1
    if freedom < 1:
        return None
    if not differences.any():
        return 1.0
    with np.errstate(divide="ignore"):  # equal differences: t is infinite, p is 0
        t = differences.mean() / differences.std(ddof=1) * np.sqrt(len(differences))
    return float(2 * stdtr(freedom, -abs(t)))  # ttest_1samp warns where differences are equal


def paired_interval(
    differences: NDArray[np.float64],
) -> tuple[float, float] | tuple[None, None]:
    """The 95 % interval of the mean of one difference a user; None for a single user."""
    from scipy.special import stdtrit  # costs a second

    freedom = len(differences) - 1
    if freedom < 1:
        return None, None
    mean = float(differences.mean())
    error = float(differences.std(ddof=1)) / len(differences) ** 0.5
    half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
    return mean - half, mean + half


def by_group(groups: pl.DataFrame) -> pl.DataFrame:
    """Errors of each group over the seeds of a cell."""
    keys = [*CELL, "method", "grouping", "group"]
    summed = groups.group_by(keys, maintain_order=True).agg(
        pl.col("users", "ratings").cast(pl.UInt64).sum(),
        pl.col("absolute", "squared", "user_mae").sum(),
    )
    return summed.select(
        *keys,
        "users",
        "ratings",
        mae=pl.col("absolute") / pl.col("ratings"),
        rmse=(pl.col("squared") / pl.col("ratings")).sqrt(),
        user_mae=pl.col("user_mae") / pl.col("users"),
    )


def fairness(errors: pl.DataFrame, grouped: pl.DataFrame) -> pl.DataFrame:
    """How unequally users are served; the means count a user once for each seed."""
    keys = [*CELL, "method"]
    tenth = pl.col("mae").top_k((pl.len() + 9) // 10).mean()
    users = errors.group_by(keys, maintain_order=True).agg(
        pl.col("user_id").n_unique().cast(pl.UInt64).alias("users"),
        pl.col("mae").mean().alias("user_mae"),
        tenth.alias("worst_tenth"),
    )
    large = (pl.col("grouping") == "history") & (pl.col("users") >= SMALL_GROUP)
    extremes = (
        grouped.filter(large)
        .group_by(keys)
        .agg(
            pl.col("user_mae").min().alias("best_group"),
            pl.col("user_mae").max().alias("worst_group"),
        )
    )
    return users.join(extremes, on=keys, how="left", maintain_order="left")
