"""One evaluated cell: a task at one cold fraction and one seed, and the names of its files."""

from collections.abc import Iterable
from typing import TypedDict, cast

from tasks.store.artifacts import ArtifactRef, Draft, Store

CELL = "experiment.json"
VALIDATION = "validation.json"  # in a mapping of choices: the NDCG of validation users
CURVE = "curve.parquet"  # in the artifact of every stage that trains
TRAFFIC = "traffic.parquet"  # in that too


class EvaluatedCell(TypedDict):
    """``experiment.json`` of an evaluation and of a ranking."""

    task: str
    beta: float
    seed: int


def write_cell(draft: Draft, store: Store, task: str, split: ArtifactRef) -> None:
    """The cell of a task and a split."""
    drawn = cast(EvaluatedCell, store.read_json(split, "split.json"))
    draft.write_json(CELL, EvaluatedCell(task=task, beta=drawn["beta"], seed=drawn["seed"]))


def evaluated_cell(store: Store, ref: ArtifactRef) -> EvaluatedCell:
    """Which task, cold fraction and seed were evaluated or ranked."""
    return cast(EvaluatedCell, store.read_json(ref, CELL))


def artifacts_by_cell(
    store: Store, refs: Iterable[ArtifactRef]
) -> dict[tuple[str, float, int], list[ArtifactRef]]:
    """A cell's evaluation and ranking, as far as they are there, by task, beta and seed."""
    cells: dict[tuple[str, float, int], list[ArtifactRef]] = {}
    for ref in refs:
        cell = evaluated_cell(store, ref)
        cells.setdefault((cell["task"], cell["beta"], cell["seed"]), []).append(ref)
    return cells
