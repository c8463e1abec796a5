"""Selecting the model to recommend with."""

from typing import NamedTuple

from tasks.models.evaluated_cell import CURVE, EvaluatedCell, evaluated_cell
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.lookup import ancestors
from tasks.store.manifests import MANIFEST


class SelectedModel(NamedTuple):
    """A cell's MetaEM and the validation error it was selected by."""

    cell: EvaluatedCell
    validation_rmse: float
    parts: dict[str, ArtifactRef]  # by their names as inputs of an evaluation


def select_model(
    store: Store, task: str | None = None, report: ArtifactRef | None = None
) -> SelectedModel:
    """The best model on validation users, among a report's cells with the most training users.

    Args:
        task: of the cells; None: that of the report's first cell.
        report: None: the one used last that has such cells.

    Raises:
        ValueError: there is no such report.
    """
    for each in [report] if report is not None else _reports(store):
        evaluations = store.manifest(each).provenance.inputs["evaluations"]
        cells = [(evaluated_cell(store, ref), ref) for ref in evaluations]
        wanted = task or cells[0][0]["task"]
        matches = [(cell, ref) for cell, ref in cells if cell["task"] == wanted]
        if matches:
            beta = min(cell["beta"] for cell, _ in matches)
            models = [_model(store, cell, ref) for cell, ref in matches if cell["beta"] == beta]
            return min(models, key=lambda model: model.validation_rmse)
    scope = f" on {task}" if task else ""
    raise ValueError(f"no report{scope} in {str(store.root)!r}: `metaem run` makes one")


def _reports(store: Store) -> list[ArtifactRef]:
    """The reports of a store, the last used first."""
    # a damaged manifest tells no size
    reports = [ref for ref in store.refs() if ref.stage == "report" and ref.size]
    return sorted(reports, key=lambda ref: -(store.folder(ref) / MANIFEST).stat().st_mtime)


def _model(store: Store, cell: EvaluatedCell, evaluation: ArtifactRef) -> SelectedModel:
    parts = ancestors(store, evaluation)
    errors = store.read_frame(parts["mapping"], CURVE)["validation_rmse"]
    return SelectedModel(cell, float(errors.drop_nulls().min()), parts)  # type: ignore[arg-type]
