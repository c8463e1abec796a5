"""All experiments of a run in one table, with figures and a readable account."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import dataframely as dy
import polars as pl

from data_contracts.comparisons import Comparisons, Fairness, GroupScores
from data_contracts.pictures import Closeness, Points
from data_contracts.scores import Summary
from tasks.models.experiment import experiment_of
from tasks.models.method_id import MethodId, read_methods
from tasks.report.comparison import by_group, compare, fairness, paired_tests, summarise
from tasks.report.figures import Panel, write_png
from tasks.report.findings import REFERENCES
from tasks.report.page import write_page, write_report
from tasks.report.panels import (
    base_panels,
    curve_panels,
    embedding_panels,
    group_panels,
    score_panel,
)
from tasks.report.provenance import origin
from tasks.report.results import Results
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage


@dataclass(frozen=True)
class ReportConfig:
    """What the table compares."""

    reference: str = "bias_transfer"  # the method that p-values are against


@dataclass(frozen=True)
class ReportRequest:
    """What is told besides what was evaluated."""

    reference: str
    missing: tuple[str, ...] = ()  # what could not be evaluated, and why
    made: str = ""  # digest of the origin: equal evaluations may have several


@stage("report", "matplotlib", "scipy")
def report(
    store: Store,
    request: ReportRequest,
    evaluations: list[ArtifactRef],
    statistics: list[ArtifactRef],
    pictures: list[ArtifactRef],
) -> ArtifactRef:
    """Mean and standard deviation over seeds of every score, and who beats whom.

    Args:
        statistics: of the evaluated tasks, as far as there are any.
        pictures: what visualise left, likewise.
    """
    results = gather(store, request, evaluations, statistics, pictures)
    with store.draft() as draft:
        draft.write_frame("summary.parquet", results.summary, Summary)
        draft.write_frame("comparisons.parquet", results.comparisons, Comparisons)
        draft.write_frame("groups.parquet", results.groups, GroupScores)
        draft.write_frame("fairness.parquet", results.fairness, Fairness)
        draft.path("report.md").write_text(write_report(results))
        draft.path("report.html").write_text(write_page(results))
        for name, panels in _drawn(results):
            if panels:
                write_png(panels, draft.path(f"{name}.png"))
    return draft.ref


def gather(
    store: Store,
    request: ReportRequest,
    evaluations: Sequence[ArtifactRef],
    statistics: Sequence[ArtifactRef],
    pictures: Sequence[ArtifactRef],
) -> Results:
    """Everything the report tells; a cell's users are held in memory one cell at a time."""
    scores = pl.concat(_labelled(store, ref, "scores.parquet") for ref in evaluations)
    if request.reference not in scores["method"]:
        known = scores["method"].unique(maintain_order=True).to_list()
        raise ValueError(
            f"nothing was evaluated by report.reference={request.reference!r}: {known}"
        )
    references = [*dict.fromkeys([*REFERENCES, request.reference])]
    cells = [_Cell.of(store, refs, references) for refs in _by_cell(store, evaluations)]
    tests = pl.concat(cell.tests for cell in cells)
    summary = summarise(scores, tests, request.reference)
    ids = read_methods(store, [*evaluations, *pictures])
    return Results(
        reference=request.reference,
        ids=ids,
        summary=summary,
        comparisons=compare(summary, tests),
        groups=pl.concat(cell.groups for cell in cells),
        fairness=pl.concat(cell.fairness for cell in cells),
        curves=pl.concat(_labelled(store, ref, "curves.parquet") for ref in evaluations),
        statistics=dict(_counted(store, ref) for ref in statistics),
        points=_of_pictures(store, pictures, ids, "tsne.parquet", Points),
        closeness=_of_pictures(store, pictures, ids, "closeness.parquet", Closeness),
        origin=origin(store, evaluations),
        missing=request.missing,
    )


@dataclass(frozen=True)
class _Cell:
    """What is left of a cell's users once they are counted."""

    tests: pl.DataFrame
    groups: pl.DataFrame
    fairness: pl.DataFrame

    @classmethod
    def of(cls, store: Store, refs: Sequence[ArtifactRef], references: Sequence[str]) -> "_Cell":
        errors = pl.concat(_labelled(store, ref, "user_errors.parquet") for ref in refs)
        groups = by_group(pl.concat(_labelled(store, ref, "groups.parquet") for ref in refs))
        return cls(paired_tests(errors, references), groups, fairness(errors, groups))


def _by_cell(store: Store, evaluations: Sequence[ArtifactRef]) -> list[list[ArtifactRef]]:
    """The seeds of each task and cold fraction."""
    cells: dict[tuple[str, float], list[ArtifactRef]] = {}
    for ref in evaluations:
        about = experiment_of(store, ref)
        cells.setdefault((about["task"], about["beta"]), []).append(ref)
    return [*cells.values()]


def _labelled(store: Store, ref: ArtifactRef, name: str) -> pl.DataFrame:
    about = experiment_of(store, ref)
    return store.read_frame(ref, name).with_columns(
        task=pl.lit(about["task"]),
        beta=pl.lit(about["beta"], pl.Float64),
        seed=pl.lit(about["seed"], pl.Int64),
    )


def _counted(store: Store, ref: ArtifactRef) -> tuple[str, pl.DataFrame]:
    frame = store.read_frame(ref, "statistics.parquet")
    return "-".join(frame["domain"]), frame


def _of_pictures(
    store: Store,
    pictures: Sequence[ArtifactRef],
    ids: Mapping[str, MethodId],
    name: str,
    schema: type[dy.Schema],
) -> pl.DataFrame:
    as_published = [each.name for each in ids.values() if each.profile == "paper"]
    nothing = schema.create_empty().with_columns(task=pl.lit("", pl.String))
    told = [
        store.read_frame(ref, name).with_columns(task=pl.lit(experiment_of(store, ref)["task"]))
        for ref in pictures
    ]
    return pl.concat([nothing, *told]).sort(
        pl.col("task"), pl.col("method").is_in(as_published), maintain_order=True
    )


def _drawn(results: Results) -> Iterator[tuple[str, list[Panel]]]:
    """The pictures by file name, for who reads the Markdown or looks into MLflow."""
    tasks, profiles = results.tasks, results.profiles
    yield "scores", [score_panel(results, task, each) for task in tasks for each in profiles]
    yield "curves", [panel for task in tasks for panel in curve_panels(results, task)]
    lowest = [(task, results.betas(task)[0]) for task in tasks]
    yield "groups", [panel for cell in lowest for panel in group_panels(results, *cell)]
    yield "vectors", [panel for task in tasks for panel in embedding_panels(results, task)]
    yield "bases", [panel for each in profiles for panel in base_panels(results, each)]
