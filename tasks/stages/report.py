"""All experiments of a run in one table, with figures and a readable account."""

from dataclasses import dataclass

from data_contracts.report import Comparisons, Fairness, GroupScores, Summary
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
    origin: str = ""  # digest of the provenance: equal evaluations may have several


@stage("report", "matplotlib", "scipy")
def report(
    store: Store,
    request: ReportRequest,
    evaluations: list[ArtifactRef],
    statistics: list[ArtifactRef],
    pictures: list[ArtifactRef],
) -> ArtifactRef:
    """Means and standard deviations over seeds, paired tests, the page and its figures.

    Args:
        statistics: of the evaluated tasks, if computed.
        pictures: artifacts of the stage visualise, if computed.
    """
    results = gather(store, request.reference, request.missing, evaluations, statistics, pictures)
    with store.draft() as draft:
        draft.write_frame("summary.parquet", results.summary, Summary)
        draft.write_frame("comparisons.parquet", results.comparisons, Comparisons)
        draft.write_frame("groups.parquet", results.groups, GroupScores)
        draft.write_frame("fairness.parquet", results.fairness, Fairness)
        draft.path("report.md").write_text(write_report(results))
        draft.path("report.html").write_text(write_page(results))
        for name, panels in picture_files(results):
            if panels:
                write_png(panels, draft.path(f"{name}.png"))
    return draft.ref
