"""All experiments of a run in one table, with figures and a readable account."""

from dataclasses import dataclass

from data_contracts.report import (
    Comparisons,
    Fairness,
    GroupScores,
    ListComparisons,
    ListSummary,
    Summary,
)
from tasks.report.figures import write_png
from tasks.report.gather import gather
from tasks.report.page import write_page, write_report
from tasks.report.panels import picture_files
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage


@dataclass(frozen=True)
class ReportConfig:
    """Settings of the report."""

    reference: str = "bias_transfer"  # the method that p-values are against


@dataclass(frozen=True)
class ReportRequest:
    """Content of a report besides its inputs."""

    reference: str
    missing: tuple[str, ...] = ()  # what could not be evaluated, and why
    origin: str = ""  # digest of the provenance: equal scores may have several


@stage("report", "matplotlib", "scipy")
def report(
    store: Store,
    request: ReportRequest,
    evaluations: list[ArtifactRef],
    rankings: list[ArtifactRef],
    statistics: list[ArtifactRef],
    pictures: list[ArtifactRef],
) -> ArtifactRef:
    """Means and standard deviations over seeds, paired tests, the page and its figures.

    Args:
        evaluations: of cells in which both domains have stars.
        rankings: of all cells.
        statistics: of the evaluated tasks, if computed.
        pictures: artifacts of the stage visualise, if computed.
    """
    inputs = evaluations, rankings, statistics, pictures
    results = gather(store, request.reference, request.missing, *inputs)
    with store.draft() as draft:
        draft.write_frame("summary.parquet", results.summary, Summary)
        draft.write_frame("comparisons.parquet", results.comparisons, Comparisons)
        draft.write_frame("groups.parquet", results.groups, GroupScores)
        draft.write_frame("fairness.parquet", results.fairness, Fairness)
        draft.write_frame("list_summary.parquet", results.lists.summary, ListSummary)
        draft.write_frame("list_comparisons.parquet", results.lists.comparisons, ListComparisons)
        draft.path("report.md").write_text(write_report(results))
        draft.path("report.html").write_text(write_page(results))
        for name, panels in picture_files(results):
            if panels:
                write_png(panels, draft.path(f"{name}.png"))
    return draft.ref
