"""How the report's cells were made, as HTML."""

from tasks.report.html import Html, columns, row, table, tag
from tasks.report.panels import titled
from tasks.report.provenance import Origin


def settings(made: Origin) -> Html:
    """What every stage ran with."""
    body = [
        row(
            f"{used.stage}, {used.profile}" if used.profile else used.stage,
            tag(
                "td",
                tag("code", "; ".join(f"{k} = {v}" for k, v in used.settings.items())),
                kind="text",
            ),
        )
        for used in made.used
    ]
    caption = "Of the first cell; the others differ in seed and cold share alone"
    return table([columns("stage", "settings")], body, caption)


def domains(made: Origin) -> Html:
    """The filtered ratings' addresses."""
    body = [row(name, tag("td", tag("code", str(ref)))) for name, ref in made.domains.items()]
    return table([columns("domain", "artifact")], body, "Filtered ratings")


def cells(made: Origin) -> Html:
    """Each cell's split and evaluation."""
    body = [
        row(
            f"{titled(cell.task)}, {cell.beta:.0%} cold, seed {cell.seed}",
            tag("td", tag("code", cell.split.digest[:16])),
            tag("td", tag("code", cell.evaluation.digest[:16])),
        )
        for cell in made.cells
    ]
    return table([columns("cell", "split", "evaluation")], body, "Digests, shortened")
