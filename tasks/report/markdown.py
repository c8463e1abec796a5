"""Tables as Markdown that reads well as plain text."""

from collections.abc import Mapping

import polars as pl

from tasks.store.artifacts import ArtifactRef


def score_table(scores: pl.DataFrame) -> str:
    """A row for each method, a column for each metric, and the p-value of the RMSE."""
    metrics = scores["metric"].unique(maintain_order=True).to_list()
    lines = [
        f"| method | {' | '.join(metrics)} | p |",
        f"|---|{'---:|' * (len(metrics) + 1)}",
    ]
    for (method,), rows in scores.group_by("method", maintain_order=True):
        cells = [_cell(row["mean"], row["sd"]) for row in rows.iter_rows(named=True)]
        p = rows.filter(pl.col("metric") == "rmse")["p_value"].to_list()
        lines.append(f"| {method} | {' | '.join(cells)} | {_p(p[0] if p else None)} |")
    return "\n".join(lines)


def _cell(mean: float, sd: float | None) -> str:
    return f"{mean:.4f}" if sd is None else f"{mean:.4f} ± {sd:.4f}"


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "<0.0001" if value < 1e-4 else f"{value:.4f}"


def experiment_note(
    task: str, beta: float, seed: int, scores: pl.DataFrame, origin: Mapping[str, ArtifactRef]
) -> str:
    """One experiment's scores and inputs."""
    wide = scores.pivot(on="metric", index="method", values="value", maintain_order=True)
    rows = [
        f"| {row[0]} | {' | '.join(f'{value:.4f}' for value in row[1:])} |" for row in wide.rows()
    ]
    inputs = [f"- {name}: `{ref}`" for name, ref in origin.items()]
    return "\n".join(
        [
            f"# {task}: beta {beta:g}, seed {seed}",
            "",
            f"| {' | '.join(wide.columns)} |",
            f"|---|{'---:|' * (wide.width - 1)}",
            *rows,
            "",
            "## Inputs",
            "",
            *inputs,
        ]
    )
