"""The report's pictures; matplotlib costs a second, so it is imported when one is drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS = ("mae", "rmse")


def draw_scores(summary: pl.DataFrame, path: Path) -> None:
    """MAE and RMSE over the cold fraction, one line a method, one row a task."""
    tasks = summary["task"].unique(maintain_order=True).to_list()
    figure, axes = _panels(len(tasks), len(METRICS))
    for row, task in zip(axes, tasks, strict=True):
        for axis, metric in zip(row, METRICS, strict=True):
            mine = summary.filter((pl.col("task") == task) & (pl.col("metric") == metric))
            for (method,), line in mine.group_by("method", maintain_order=True):
                points = line.sort("beta")
                spread = points["sd"].fill_null(0.0)
                axis.errorbar(points["beta"], points["mean"], spread, label=str(method), marker="o")
            axis.set(title=f"{task}: {metric.upper()}", xlabel="beta", xticks=mine["beta"].unique())
    axes[0][-1].legend(fontsize="small")
    _save(figure, path)


def draw_curves(experiments: Sequence[pl.DataFrame], path: Path) -> None:
    """Loss and validation RMSE by epoch, one column a training stage."""
    curves = pl.concat(experiments)
    stages = curves["stage"].unique(maintain_order=True).to_list()
    figure, axes = _panels(1, len(stages))
    for axis, stage in zip(axes[0], stages, strict=True):
        runs = curves.filter(pl.col("stage") == stage)
        for (beta, seed), run in runs.group_by("beta", "seed", maintain_order=True):
            name = f"beta {beta}, seed {seed}"
            (line,) = axis.plot(run["epoch"], run["validation_rmse"], label=name)
            axis.plot(run["epoch"], run["loss"] ** 0.5, color=line.get_color(), linestyle=":")
        axis.set(title=stage, xlabel="epoch", ylabel="RMSE: validation, dotted training")
    axes[0][-1].legend(fontsize="small")
    _save(figure, path)


def _panels(rows: int, columns: int) -> "tuple[Figure, list[list[Axes]]]":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0 * columns, 3.8 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, [list(row) for row in axes]


def _save(figure: "Figure", path: Path) -> None:
    # without the software version and date the picture's bytes depend on its data alone
    figure.savefig(path, dpi=110, metadata={"Software": None})
