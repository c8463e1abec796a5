"""Selecting the model to recommend with."""

from typing import NamedTuple

from tasks.models.evaluated_cell import CURVE, EvaluatedCell, evaluated_cell
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.manifests import MANIFEST


class SelectedModel(NamedTuple):
    """A cell's MetaEM and its validation, by which it was selected."""

    cell: EvaluatedCell
    validation_ndcg: float  # of lists by choice
    validation_rmse: float | None  # None: a domain has no stars
    parts: dict[str, ArtifactRef]  # source, choice_model, choice_mapping and so on


def select_model(
    store: Store, task: str | None = None, report: ArtifactRef | None = None
) -> SelectedModel:
    """The best lists of validation users, among a report's cells with the most training users.

    Args:
        task: of the cells; None: that of the report's first cell.
        report: None: the one used last that has such cells.

    Raises:
        ValueError: there is no such report, or its cells have no model of choice.
    """
    for each in [report] if report is not None else _used_last(store, "report"):
        cells = [(evaluated_cell(store, ref), ref) for ref in _cells(store, each)]
        wanted = task or cells[0][0]["task"]
        matches = [(cell, ref) for cell, ref in cells if cell["task"] == wanted]
        if matches:
            beta = min(cell["beta"] for cell, _ in matches)
            models = [_model(store, cell, ref) for cell, ref in matches if cell["beta"] == beta]
            return max(models, key=lambda model: model.validation_ndcg)
    scope = f" on {task}" if task else ""
    raise ValueError(f"no report{scope} in {str(store.root)!r}: `metaem run` makes one")


def _used_last(store: Store, stage: str) -> list[ArtifactRef]:
    """The artifacts of a stage, the last used first."""
    # a damaged manifest tells no size
    refs = [ref for ref in store.refs() if ref.stage == stage and ref.size]
    return sorted(refs, key=lambda ref: -(store.folder(ref) / MANIFEST).stat().st_mtime)


def _cells(store: Store, report: ArtifactRef) -> list[ArtifactRef]:
    """An evaluation of each of its cells, or their lists where there are no stars."""
    inputs = store.manifest(report).provenance.inputs
    return [*(inputs["evaluations"] or inputs.get("rankings", ()))]


def _model(store: Store, cell: EvaluatedCell, scored: ArtifactRef) -> SelectedModel:
    inputs = _inputs(store, scored)
    mapping = _choice_mapping(store, inputs["split"])
    candidates = store.read_frame(mapping, "candidates.parquet")
    choice = {"choice_model": _inputs(store, mapping)["source_model"], "choice_mapping": mapping}
    rmse = None
    if "mapping" in inputs:
        errors = store.read_frame(inputs["mapping"], CURVE)["validation_rmse"]
        rmse = float(errors.drop_nulls().min())  # type: ignore[arg-type]
    ndcg = float(candidates["ndcg"].max())  # type: ignore[arg-type]
    return SelectedModel(cell, ndcg, rmse, inputs | choice)


def _choice_mapping(store: Store, split: ArtifactRef) -> ArtifactRef:
    """The one of this split that was used last."""
    for ref in _used_last(store, "choice_mapping"):
        if _inputs(store, ref)["split"] == split:
            return ref
    raise ValueError(
        f"no model of choice of {split} in {str(store.root)!r}: `metaem run` makes one"
    )


def _inputs(store: Store, ref: ArtifactRef) -> dict[str, ArtifactRef]:
    """What it was computed from, each input that is a single one."""
    inputs = store.manifest(ref).provenance.inputs
    return {name: refs[0] for name, refs in inputs.items() if len(refs) == 1}
