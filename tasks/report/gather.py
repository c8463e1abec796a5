"""Reading everything that a report shows from the artifacts of a run."""

from collections.abc import Mapping, Sequence

import dataframely as dy
import polars as pl

from data_contracts.evaluation import ExperimentCurves, GroupErrors, Scores, UserErrors
from data_contracts.pictures import Closeness, Points
from tasks.models.evaluated_cell import evaluated_cell
from tasks.models.method_id import MethodId, read_methods
from tasks.report.cells import by_cell, labelled
from tasks.report.comparison import by_group, compare, fairness, paired_tests, summarise
from tasks.report.findings import REFERENCES
from tasks.report.lists import gather_lists, left_out
from tasks.report.provenance import origin
from tasks.report.results import Results
from tasks.store.artifacts import ArtifactRef, Store


def gather(
    store: Store,
    reference: str,
    missing: Sequence[str],
    evaluations: Sequence[ArtifactRef],
    rankings: Sequence[ArtifactRef],
    statistics: Sequence[ArtifactRef],
    pictures: Sequence[ArtifactRef],
) -> Results:
    """The results of all cells; a cell's users are held in memory one cell at a time.

    Args:
        reference: the method that p-values are against.
        missing: lines on what could not be evaluated.
        evaluations: none where a domain holds choices only.
        statistics: of the evaluated tasks, if computed.
        pictures: artifacts of the stage visualise, if computed.

    Raises:
        ValueError: the reference was not evaluated.
    """
    scores = labelled(store, evaluations, "scores.parquet", Scores)
    if evaluations and reference not in scores["method"]:
        known = scores["method"].unique(maintain_order=True).to_list()
        raise ValueError(f"nothing was evaluated by report.reference={reference!r}: {known}")
    references = [*dict.fromkeys([*REFERENCES, reference])]
    cells = [_of_users(store, refs, references) for refs in by_cell(store, evaluations) or [[]]]
    tests, groups, fair = (pl.concat(tables) for tables in zip(*cells, strict=True))
    summary = summarise(scores, tests, reference)
    ids = read_methods(store, [*evaluations, *pictures])
    counted = [store.read_frame(ref, "statistics.parquet") for ref in statistics]
    return Results(
        reference=reference,
        ids=ids,
        summary=summary,
        comparisons=compare(summary, tests),
        groups=groups,
        fairness=fair,
        curves=labelled(store, evaluations, "curves.parquet", ExperimentCurves),
        lists=gather_lists(store, rankings),
        statistics={"-".join(counts["domain"]): counts for counts in counted},
        points=_of_pictures(store, pictures, ids, "tsne.parquet", Points),
        closeness=_of_pictures(store, pictures, ids, "closeness.parquet", Closeness),
        origin=origin(store, evaluations, rankings),
        missing=[*missing, *left_out(store, rankings)],
    )


def _of_users(
    store: Store, refs: Sequence[ArtifactRef], references: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """A cell's paired tests, errors by group and fairness."""
    errors = labelled(store, refs, "user_errors.parquet", UserErrors)
    groups = by_group(labelled(store, refs, "groups.parquet", GroupErrors))
    return paired_tests(errors, references), groups, fairness(errors, groups)


def _of_pictures(
    store: Store,
    pictures: Sequence[ArtifactRef],
    ids: Mapping[str, MethodId],
    name: str,
    schema: type[dy.Schema],
) -> pl.DataFrame:
    as_published = [each.name for each in ids.values() if each.profile == "paper"]
    nothing = schema.create_empty().with_columns(task=pl.lit("", pl.String))
    frames = [
        store.read_frame(ref, name).with_columns(task=pl.lit(evaluated_cell(store, ref)["task"]))
        for ref in pictures
    ]
    return pl.concat([nothing, *frames]).sort(
        pl.col("task"), pl.col("method").is_in(as_published), maintain_order=True
    )
