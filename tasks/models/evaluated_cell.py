"""One evaluated cell: a task at one cold fraction and one seed, and the names of its files."""

from typing import TypedDict, cast

from tasks.store.artifacts import ArtifactRef, Store

CURVE = "curve.parquet"  # in the artifact of every stage that trains
TRAFFIC = "traffic.parquet"  # in that of a pretraining


class EvaluatedCell(TypedDict):
    """``experiment.json`` of an evaluation."""

    task: str
    beta: float
    seed: int


def evaluated_cell(store: Store, evaluation: ArtifactRef) -> EvaluatedCell:
    """Which task, cold fraction and seed were evaluated."""
    return cast(EvaluatedCell, store.read_json(evaluation, "experiment.json"))
