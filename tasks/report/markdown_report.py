"""The report as plain text: what was found, and a table for each task and cold fraction."""

import polars as pl

from tasks.report.findings import findings
from tasks.report.markdown import score_table
from tasks.report.results import Results

HEAD = """# MetaEM: report

{findings}

Errors over all held-out ratings of cold-start users, predictions clipped to the rating scale;
mean over {seeds} seed{plural}{spread}. p: two-sided paired test over users of the RMSE against
{reference} (Student's t on one difference a user, of squared errors summed over seeds). Methods
that end in -paper are as published, the others on the same calibrated ground.
"""


def write_report(results: Results) -> str:
    """What was found, then a table for each task and cold fraction."""
    plural, spread = ("s", " ± standard deviation") if results.seeds > 1 else ("", "")
    parts = [
        HEAD.format(
            findings="\n".join(f"- **{each.about}:** {each.text}" for each in findings(results)),
            seeds=results.seeds,
            plural=plural,
            spread=spread,
            reference=results.reference,
        )
    ]
    if results.missing:
        parts.append("\n".join(["## Missing", "", *(f"- {line}" for line in results.missing), ""]))
    for task, beta in results.cells:
        mine = results.summary.filter((pl.col("task") == task) & (pl.col("beta") == beta))
        parts.append(f"## {task}, beta = {beta:g}\n\n{score_table(mine)}")
    return "\n".join(parts)
