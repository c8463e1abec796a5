"""Means over seeds, paired tests over users, and errors by group, for one or more cells."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

# a user's mean loss behind each metric
LOSSES = {"mae": "mae", "median_mae": "median_mae", "rmse": "mse"}
CELL = ("task", "beta")
TESTED: dict[str, type[pl.DataType]] = {
    "users": pl.UInt32,
    **dict.fromkeys(["paired", "effect", "low", "high", "p_value", "sign_p"], pl.Float64),
}
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
    against = tests.filter(pl.col("reference") == reference).select(*keys, "p_value")
    return table.join(against, on=keys, how="left", maintain_order="left")


def compare(summary: pl.DataFrame, tests: pl.DataFrame) -> pl.DataFrame:
    """Every method's mean beside every reference's, with the tests of their difference.

    ``holm_p`` is corrected for all methods and cells compared with a reference by a metric.
    """
    means = summary.select(*CELL, "metric", "method", "mean")
    base = means.rename({"method": "reference", "mean": "reference_mean"})
    return (
        tests.join(means, on=[*CELL, "metric", "method"], maintain_order="left")
        .join(base, on=[*CELL, "metric", "reference"], maintain_order="left")
        .with_columns(difference=pl.col("mean") - pl.col("reference_mean"))
        .with_columns(
            holm_p=pl.col("p_value")
            .map_batches(holm, return_dtype=pl.Float64)
            .over("metric", "reference")
        )
        .select(*CELL, "metric", "reference", "method", "difference", *TESTED, "holm_p")
    )


def holm(p_values: pl.Series) -> pl.Series:
    """p-values corrected for their number (Holm 1979); a missing one stays missing."""
    known = p_values.drop_nulls().to_numpy()
    order = known.argsort()
    corrected = np.empty(len(known))
    stepped = known[order] * np.arange(len(known), 0, -1)
    corrected[order] = np.maximum.accumulate(stepped).clip(max=1)
    values = iter(corrected.tolist())
    return pl.Series([None if p is None else next(values) for p in p_values], dtype=pl.Float64)


def paired_tests(errors: pl.DataFrame, references: Sequence[str]) -> pl.DataFrame:
    """Each method's paired test against each reference, for the metrics that are sums over users.

    The difference tested is a user's loss, summed over all their held-out ratings of all seeds. It
    averages to zero exactly when the two methods' errors over all these ratings are equal.
    ``effect`` is the difference of these errors in stars, with its 95 % interval.
    """
    schema: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(["task", "metric", "reference", "method"], pl.String),
        "beta": pl.Float64,
        **TESTED,
    }
    rows = [
        (task, metric, reference, method, beta, *tested)
        for (task, beta), cell in errors.group_by(*CELL, maintain_order=True)
        for metric, loss in LOSSES.items()
        for reference, method, *tested in _tested(cell, loss, references)
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
    cell: pl.DataFrame, loss: str, references: Sequence[str]
) -> Iterator[tuple[object, ...]]:
    """Reference and method, then the columns TESTED."""
    losses = _losses(cell, loss)
    n_ratings = int(totals(cell.with_columns(value=pl.col("ratings"))).to_series(0).sum())
    for reference in (name for name in references if name in losses.columns):
        for method in (name for name in losses.columns if name != reference):
            differences = (losses[method] - losses[reference]).to_numpy()
            sums = float(losses[method].sum()), float(losses[reference].sum())
            # from a sum of losses to stars; a difference of roots is that of squares by their sum
            roots = sum((each / n_ratings) ** 0.5 for each in sums) if loss == "mse" else 1.0
            stars = len(differences) / n_ratings / max(roots, 1e-12)
            ends = (None if end is None else end * stars for end in paired_interval(differences))
            mean, tests = float(differences.mean()), (paired_p_value, sign_p_value)
            p_values = (test(differences) for test in tests)
            yield reference, method, len(differences), mean, mean * stars, *ends, *p_values


def sign_p_value(differences: NDArray[np.float64]) -> float | None:
    """Two-sided p of the sign test: how likely users are to be better off by either method.

    Returns:
        None for a single user; 1 where nothing differs.
    """
    from scipy.special import bdtr  # costs a second

    if len(differences) < 2:
        return None
    lower, unequal = int((differences < 0).sum()), int((differences != 0).sum())
    if not unequal:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(lower, unequal - lower), unequal, 0.5)))


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
