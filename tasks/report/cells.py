"""Tables of evaluations and rankings, labelled by the cell that they are about."""

from collections.abc import Iterable, Sequence

import dataframely as dy
import polars as pl

from tasks.models.evaluated_cell import EvaluatedCell, evaluated_cell
from tasks.store.artifacts import ArtifactRef, Store


class OfCells:
    """A table of means with a task and a beta in every row."""

    summary: pl.DataFrame

    @property
    def tasks(self) -> list[str]:
        return self.summary["task"].unique(maintain_order=True).to_list()

    def betas(self, task: str) -> list[float]:
        """The task's cold fractions, ascending."""
        mine = self.summary.filter(pl.col("task") == task)
        return mine["beta"].unique().sort().to_list()

    @property
    def cells(self) -> list[tuple[str, float]]:
        return [(task, beta) for task in self.tasks for beta in self.betas(task)]


def labelled(
    store: Store, refs: Iterable[ArtifactRef], name: str, schema: type[dy.Schema]
) -> pl.DataFrame:
    """A table of all these artifacts, with task, beta and seed."""
    cells = [(evaluated_cell(store, ref), store.read_frame(ref, name)) for ref in refs]
    nothing = EvaluatedCell(task="", beta=0.0, seed=0)
    return pl.concat(
        frame.with_columns(
            task=pl.lit(cell["task"], pl.String),
            beta=pl.lit(cell["beta"], pl.Float64),
            seed=pl.lit(cell["seed"], pl.Int64),
        )
        for cell, frame in [(nothing, schema.create_empty()), *cells]
    )


def by_cell(store: Store, refs: Sequence[ArtifactRef]) -> list[list[ArtifactRef]]:
    """The seeds of each task and cold fraction."""
    cells: dict[tuple[str, float], list[ArtifactRef]] = {}
    for ref in refs:
        cell = evaluated_cell(store, ref)
        cells.setdefault((cell["task"], cell["beta"]), []).append(ref)
    return [*cells.values()]
