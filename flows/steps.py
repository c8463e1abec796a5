"""The steps of an experiment in their order, and what they leave."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from flows.grid import Cell, Grid, cell_name
from flows.runtime.runs import Run, finished
from flows.settings import Settings
from tasks.report.provenance import origin_digest
from tasks.stages.report import ReportRequest, report
from tasks.store.artifacts import ArtifactRef

K = TypeVar("K")


@dataclass(frozen=True)
class Outcome:
    """What a run left in the store."""

    artifacts: tuple[tuple[str, ArtifactRef], ...]  # by the name of the stage's run
    domains: dict[str, ArtifactRef]
    splits: dict[Cell, ArtifactRef]
    twins: ArtifactRef | None
    statistics: ArtifactRef | None
    evaluations: tuple[ArtifactRef, ...]
    rankings: tuple[ArtifactRef, ...]
    report: ArtifactRef | None
    missing: tuple[str, ...]  # what the report has to do without, and why
    left_out: str | None  # what was not wanted of these data, and why

    @classmethod
    def of(cls, grid: Grid) -> "Outcome":
        """Wait for everything; the first failure is raised unless a report mentions it."""
        for run in grid.runs if grid.report is None else [grid.report]:
            run.result()
        return cls(
            artifacts=tuple((run.name, run.result()) for run in finished(grid.runs)),
            domains=_results(grid.domains),
            splits=_results(grid.splits),
            twins=_results({0: grid.twins}).get(0) if grid.twins else None,
            statistics=_results({0: grid.statistics}).get(0) if grid.statistics else None,
            evaluations=tuple(_results(grid.evaluations).values()),
            rankings=tuple(_results(grid.rankings).values()),
            report=grid.report.result() if grid.report else None,
            missing=tuple(_missing(grid)),
            left_out=left_out(grid.settings) if grid.left_out else None,
        )


def report_on(grids: Sequence[Grid], label: str) -> Run:
    """One report on every cell of these grids that could be evaluated or ranked."""
    evaluated = [run for grid in grids for run in grid.evaluations.values()]
    ranked = [run for grid in grids for run in grid.rankings.values()]
    evaluations, rankings = finished(evaluated), finished(ranked)
    if not evaluations and not rankings:
        [*evaluated, *ranked][0].result()  # raises what failed
    statistics = finished(grid.statistics for grid in grids if grid.statistics is not None)
    pictures = finished(grid.picture for grid in grids if grid.picture is not None)
    first = grids[0]
    missing = tuple(line for grid in grids for line in _missing(grid))
    scores = [[run.result() for run in runs] for runs in (evaluations, rankings)]
    digest = origin_digest(first.store, *scores)
    request = ReportRequest(first.settings.report.reference, missing, digest)
    run = first.submit(report, label, request, evaluations, rankings, statistics, pictures)
    for grid in grids:
        grid.report = run
    return run


def _missing(grid: Grid) -> Iterator[str]:
    """What a report has to do without, and why: a line each."""
    task = grid.settings.task
    for cell in grid.splits:
        for name, run in _lost(grid, cell).items():
            yield f"{name}, {task} {cell_name(*cell)}: {run.failure}"
    for name, extra in (("statistics", grid.statistics), ("vectors", grid.picture)):
        if extra is not None and extra.failure is not None:
            yield f"{name}, {task}: {extra.failure}"


def _lost(grid: Grid, cell: Cell) -> dict[str, Run]:
    """A cell's runs that failed and leave a gap in its tables."""
    stars, lists = grid.evaluations.get(cell), grid.rankings.get(cell)
    lost = {} if stars is None else {"all methods": stars}
    if stars is None or stars.failure is None:
        lost = {**grid.other_methods.get(cell, {})}
    if lists is not None and (stars is None or lists.failure != stars.failure):
        lost["lists"] = lists
    return {name: run for name, run in lost.items() if run.failure is not None}


def _report(grid: Grid) -> None:
    report_on([grid], grid.settings.task)


def _results(runs: Mapping[K, Run]) -> dict[K, ArtifactRef]:
    return {key: run.result() for key, run in runs.items() if run.failure is None}


STEPS: dict[str, Callable[[Grid], None]] = {
    "download": Grid.download,
    "filter": Grid.filter,
    "twins": Grid.find_twins,
    "statistics": Grid.describe,
    "split": Grid.split,
    "pretrain": Grid.pretrain,
    "mapping": Grid.mapping,
    "choice_pretrain": Grid.choice_pretrain,
    "choice_mapping": Grid.choice_mapping,
    "factorise": Grid.factorise,
    "baseline": Grid.baseline,
    "dp_biases": Grid.dp_biases,
    "dp_transfer": Grid.dp_transfer,
    "evaluate": Grid.evaluate,
    "rank": Grid.rank,
    "visualise": Grid.visualise,
    "report": _report,
}
OF_STARS = {
    *("pretrain", "mapping", "factorise", "baseline"),
    *("dp_biases", "dp_transfer", "evaluate", "visualise"),
}
ALIASES = {"transfer": "baseline"}  # what a step was called before


def take(name: str, grid: Grid) -> None:
    """Submit a step's runs; those that need stars only where both domains have them."""
    if name in OF_STARS and grid.settings.without_stars:
        grid.left_out = True
    else:
        STEPS[name](grid)


def left_out(settings: Settings) -> str:
    """Why nothing is predicted in stars."""
    names = settings.without_stars
    return (
        f"stars: left out, {' and '.join(names)} {'holds' if len(names) == 1 else 'hold'} choices"
    )
