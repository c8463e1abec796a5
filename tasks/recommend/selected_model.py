"""Which of a store's trained cells is recommended with."""

from collections.abc import Iterator
from typing import NamedTuple

from tasks.models.experiment import CURVE, Experiment, experiment_of
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.lookup import ancestors
from tasks.store.manifests import MANIFEST


class Winner(NamedTuple):
    """A cell's MetaEM and what it was chosen by."""

    cell: Experiment
    validation_rmse: float
    parts: dict[str, ArtifactRef]  # by their names as inputs of an evaluation


def winner(store: Store, task: str | None = None, report: ArtifactRef | None = None) -> Winner:
    """Of a report's cells with the most training users the best on validation users.

    Args:
        task: of these cells; None: of the report's first one.
        report: None: the one used last that has such cells.
    """
    for each in [report] if report is not None else _reports(store):
        evaluations = store.manifest(each).provenance.inputs["evaluations"]
        cells = [(experiment_of(store, ref), ref) for ref in evaluations]
        wanted = task or cells[0][0]["task"]
        asked = [(cell, ref) for cell, ref in cells if cell["task"] == wanted]
        if asked:
            least = min(cell["beta"] for cell, _ in asked)
            found = [_judged(store, cell, ref) for cell, ref in asked if cell["beta"] == least]
            return min(found, key=lambda cell: cell.validation_rmse)
    what = f" on {task}" if task else ""
    raise ValueError(f"no report{what} in {str(store.root)!r}: `metaem run` makes one")


def _reports(store: Store) -> Iterator[ArtifactRef]:
    """Those that are there, the last used first."""
    used = {}
    for ref in store.refs():
        if ref.stage == "report" and ref.size:  # a damaged manifest tells no size
            used[ref] = (store.folder(ref) / MANIFEST).stat().st_mtime
    yield from sorted(used, key=lambda ref: -used[ref])


def _judged(store: Store, cell: Experiment, evaluation: ArtifactRef) -> Winner:
    parts = ancestors(store, evaluation)
    errors = store.read_frame(parts["mapping"], CURVE)["validation_rmse"]
    return Winner(cell, float(errors.drop_nulls().min()), parts)  # type: ignore[arg-type]
