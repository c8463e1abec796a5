"""The content of MLflow's runs, read from artifacts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from tasks.models.budget import read_budget
from tasks.models.evaluated_cell import CURVE, TRAFFIC, evaluated_cell
from tasks.models.method_id import read_method
from tasks.report.page import write_note
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.lookup import ancestors

COMPARED = ("mae", "rmse")  # of a report's methods, beside every measure of their lists
FILES = ("scores.parquet", "curves.parquet", "list_scores.parquet")  # without any user
DATASETS = ("filter", "twins", "split")
CURVE_METRICS = ("loss", "validation_mae", "validation_rmse")


@dataclass(frozen=True)
class Point:
    """One value of a metric."""

    metric: str
    value: float
    step: int = 0


@dataclass(frozen=True)
class RunContent:
    """Everything one run shows."""

    name: str
    tags: Mapping[str, str]
    note: str
    files: Sequence[Path] = ()
    points: Sequence[Point] = ()
    params: Mapping[str, str] = field(default_factory=dict)
    datasets: Mapping[str, ArtifactRef] = field(default_factory=dict)


def described(store: Store, *cell: ArtifactRef) -> RunContent:
    """The run of one (task, beta, seed): its evaluation, its ranking or both."""
    about = evaluated_cell(store, cell[0])
    origin = ancestors(store, *cell)
    scores = pl.concat(_scores(store, ref) for ref in cell)
    points = [Point(f"{metric}/{method}", value) for method, metric, value in scores.iter_rows()]
    points += [point for ref in cell for point in _user_errors(store, ref)]
    points += [*_curves(store, origin), *_traffic(store, origin), *_privacy(store, origin)]
    return RunContent(
        name=f"beta {about['beta']:g}, seed {about['seed']}",
        tags={"kind": "cell", **{name: str(value) for name, value in about.items()}},
        note=write_note(about, scores, origin),
        files=[store.file(ref, n) for ref in cell for n in FILES if n in store.manifest(ref).files],
        points=points,
        params=dict(
            param
            for name, ref in {**{ref.stage: ref for ref in cell}, **origin}.items()
            for param in _flat(name, store.manifest(ref).provenance.config)
        ),
        datasets={name: ref for name, ref in origin.items() if ref.stage in DATASETS},
    )


def described_report(store: Store, report: ArtifactRef) -> RunContent:
    """The run that shows all experiments side by side."""
    names = [name for name in store.manifest(report).files if name != "report.md"]
    means = _means(store, report).group_by("metric", "method", maintain_order=True)
    return RunContent(
        name="report",
        tags={"kind": "report"},
        note=store.file(report, "report.md").read_text(),
        files=[store.file(report, name) for name in ("report.md", *sorted(names))],
        points=[
            Point(f"{metric}/{method}", mean)
            for metric, method, mean in means.agg(pl.col("mean").mean()).rows()
        ],
    )


def described_methods(store: Store, report: ArtifactRef) -> Iterator[RunContent]:
    """A run for each method of a report: side by side they are one chart.

    ``rmse`` is the mean over tasks and cold fractions; ``rmse_by_beta`` has a step a percentage.
    """
    for (method,), own in _means(store, report).group_by("method", maintain_order=True):
        means = own.group_by("metric", maintain_order=True).agg(pl.col("mean").mean())
        by_beta = own.group_by("metric", "beta", maintain_order=True).agg(pl.col("mean").mean())
        points = [Point(metric, mean) for metric, mean in means.iter_rows()]
        points += [
            Point(f"{metric}_by_beta", mean, round(100 * beta))
            for metric, beta, mean in by_beta.iter_rows()
        ]
        yield RunContent(
            name=str(method),
            tags={"kind": "method", "method": str(method)},
            note=f"{method} in the report {report}",
            points=points,
        )


def _scores(store: Store, ref: ArtifactRef) -> pl.DataFrame:
    if ref.stage == "rank":
        scores = _by_relevance(store.read_frame(ref, "list_scores.parquet"))
    else:
        scores = store.read_frame(ref, "scores.parquet")
    return scores.select("method", "metric", "value")


def _means(store: Store, report: ArtifactRef) -> pl.DataFrame:
    stars = store.read_frame(report, "summary.parquet").filter(pl.col("metric").is_in(COMPARED))
    lists = _by_relevance(store.read_frame(report, "list_summary.parquet"))
    columns = ["task", "beta", "method", "metric", "mean"]
    return pl.concat([stars.select(columns), lists.select(columns)])


def _by_relevance(measures: pl.DataFrame) -> pl.DataFrame:
    """Measures of items that the user liked, or among sampled others, are named so."""
    usual = pl.col("relevant").is_in(["", "chosen"])
    named = pl.when(usual).then(pl.lit("")).otherwise(pl.col("relevant") + "_")
    return measures.with_columns(metric=named + pl.col("metric"))


def _user_errors(store: Store, ref: ArtifactRef) -> Iterator[Point]:
    if ref.stage == "evaluate":
        errors = store.read_frame(ref, "user_errors.parquet")
        by_user = errors.group_by("method", maintain_order=True).agg(pl.col("mae").mean())
        for method, mae in by_user.iter_rows():
            yield Point(f"mean_user_mae/{method}", mae)


def _curves(store: Store, origin: Mapping[str, ArtifactRef]) -> Iterator[Point]:
    for name, ref in origin.items():
        if CURVE in store.manifest(ref).files:
            for row in store.read_frame(ref, CURVE).iter_rows(named=True):
                for metric in CURVE_METRICS:
                    if row[metric] is not None:
                        yield Point(f"{name}/{metric}", row[metric], row["epoch"])


def _traffic(store: Store, origin: Mapping[str, ArtifactRef]) -> Iterator[Point]:
    for name, ref in origin.items():
        if TRAFFIC in store.manifest(ref).files:
            for span, down, up in store.read_frame(ref, TRAFFIC).iter_rows():
                yield Point(f"{name}/bytes_down_{span}", down)
                yield Point(f"{name}/bytes_up_{span}", up)


def _privacy(store: Store, origin: Mapping[str, ArtifactRef]) -> Iterator[Point]:
    """The privacy budget that methods with DP spent, by the larger of two accounts."""
    for ref in (each for each in origin.values() if each.stage == "dp_transfer"):
        budget = read_budget(store, ref)
        if budget["spent"] is not None:
            spent = max(budget["spent"], budget["spent_by_losses"] or 0.0)
            yield Point(f"epsilon/{read_method(store, ref).name}", spent)


def _flat(prefix: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(f"{prefix}.{name}", inner)
    else:
        yield prefix, str(value)
