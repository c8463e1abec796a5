"""Reading everything that a report shows from the artifacts of a run."""

from collections.abc import Mapping, Sequence

import dataframely as dy
import polars as pl

from data_contracts.pictures import Closeness, Points
from tasks.models.evaluated_cell import evaluated_cell
from tasks.models.method_id import MethodId, read_methods
from tasks.report.comparison import by_group, compare, fairness, paired_tests, summarise
from tasks.report.findings import REFERENCES
from tasks.report.provenance import origin
from tasks.report.results import Results
from tasks.store.artifacts import ArtifactRef, Store


def gather(
    store: Store,
    reference: str,
    missing: Sequence[str],
    evaluations: Sequence[ArtifactRef],
    statistics: Sequence[ArtifactRef],
    pictures: Sequence[ArtifactRef],
) -> Results:
    """The results of all cells; a cell's users are held in memory one cell at a time.

    Args:
        reference: the method that p-values are against.
        missing: lines on what could not be evaluated.
        statistics: of the evaluated tasks, if computed.
        pictures: artifacts of the stage visualise, if computed.

    Raises:
        ValueError: the reference was not evaluated.
    """
    scores = pl.concat(_labelled(store, ref, "scores.parquet") for ref in evaluations)
    if reference not in scores["method"]:
        known = scores["method"].unique(maintain_order=True).to_list()
        raise ValueError(f"nothing was evaluated by report.reference={reference!r}: {known}")
    references = [*dict.fromkeys([*REFERENCES, reference])]
    cells = [_of_users(store, refs, references) for refs in _by_cell(store, evaluations)]
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
        curves=pl.concat(_labelled(store, ref, "curves.parquet") for ref in evaluations),
        statistics={"-".join(counts["domain"]): counts for counts in counted},
        points=_of_pictures(store, pictures, ids, "tsne.parquet", Points),
        closeness=_of_pictures(store, pictures, ids, "closeness.parquet", Closeness),
        origin=origin(store, evaluations),
        missing=missing,
    )


def _of_users(
    store: Store, refs: Sequence[ArtifactRef], references: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """A cell's paired tests, errors by group and fairness."""
    errors = pl.concat(_labelled(store, ref, "user_errors.parquet") for ref in refs)
    groups = by_group(pl.concat(_labelled(store, ref, "groups.parquet") for ref in refs))
    return paired_tests(errors, references), groups, fairness(errors, groups)


def _by_cell(store: Store, evaluations: Sequence[ArtifactRef]) -> list[list[ArtifactRef]]:
    """The seeds of each task and cold fraction."""
    cells: dict[tuple[str, float], list[ArtifactRef]] = {}
    for ref in evaluations:
        cell = evaluated_cell(store, ref)
        cells.setdefault((cell["task"], cell["beta"]), []).append(ref)
    return [*cells.values()]


def _labelled(store: Store, ref: ArtifactRef, name: str) -> pl.DataFrame:
    cell = evaluated_cell(store, ref)
    return store.read_frame(ref, name).with_columns(
        task=pl.lit(cell["task"]),
        beta=pl.lit(cell["beta"], pl.Float64),
        seed=pl.lit(cell["seed"], pl.Int64),
    )


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
