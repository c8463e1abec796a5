"""Selecting the model to recommend with."""

from typing import NamedTuple, cast

from tasks.models.evaluated_cell import CURVE, VALIDATION, EvaluatedCell, evaluated_cell
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.manifests import MANIFEST


class SelectedModel(NamedTuple):
    """A cell's MetaEM and its validation, by which it was selected."""

    cell: EvaluatedCell
    validation_ndcg: float | None  # of lists by choice; None: nobody validates
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
        ValueError: there is no such report with lists.
    """
    for each in [report] if report is not None else _reports(store):
        rankings = store.manifest(each).provenance.inputs.get("rankings", ())
        cells = [(evaluated_cell(store, ref), ref) for ref in rankings]
        matches = [
            (cell, ref) for cell, ref in cells if cell["task"] == (task or cells[0][0]["task"])
        ]
        if matches:
            beta = min(cell["beta"] for cell, _ in matches)
            models = [ranked_model(store, ref) for cell, ref in matches if cell["beta"] == beta]
            return max(models, key=lambda model: model.validation_ndcg or 0)
    scope = f" on {task}" if task else ""
    raise ValueError(f"no report{scope} with lists in {str(store.root)!r}: `metaem run` makes one")


def _reports(store: Store) -> list[ArtifactRef]:
    """The reports of a store, the last used first."""
    # a damaged manifest tells no size
    reports = [ref for ref in store.refs() if ref.stage == "report" and ref.size]
    return sorted(reports, key=lambda ref: -(store.folder(ref) / MANIFEST).stat().st_mtime)


def ranked_model(store: Store, ranking: ArtifactRef) -> SelectedModel:
    """The MetaEM whose lists these are."""
    parts = _inputs(store, ranking)
    parts["choice_model"] = _inputs(store, parts["choice_mapping"])["source_model"]
    lists = cast(dict[str, float | None], store.read_json(parts["choice_mapping"], VALIDATION))
    rmse = None
    if (mapping := parts.get("star_mapping")) is not None:
        inputs = _inputs(store, mapping)
        parts |= {name: inputs[name] for name in ("source_model", "target_model")}
        rmse = float(store.read_frame(mapping, CURVE)["validation_rmse"].drop_nulls().min())  # type: ignore[arg-type]
    return SelectedModel(evaluated_cell(store, ranking), lists["ndcg"], rmse, parts)


def _inputs(store: Store, ref: ArtifactRef) -> dict[str, ArtifactRef]:
    """What it was computed from, each input that is a single one."""
    inputs = store.manifest(ref).provenance.inputs
    return {name: refs[0] for name, refs in inputs.items() if len(refs) == 1}
