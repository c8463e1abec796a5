"""Running stages with progress on the terminal, and showing what they left in the store."""

import typer

from flows.cli.display import progress, say, stdout
from flows.cli.tables import score_tables
from flows.experiment import run
from flows.notes import notes
from flows.settings import Settings
from flows.steps import Outcome


def run_stages(
    settings: Settings, refresh: frozenset[str] = frozenset(), until: str = "report"
) -> Outcome:
    """The experiment up to ``until``, with progress and notes."""
    with progress():
        outcome = run(settings, refresh, until)
    show_notes(settings, outcome)
    return outcome


def show_notes(settings: Settings, outcome: Outcome, where: str = "") -> None:
    """Lines that are not scores, each after ``where``."""
    for note in notes(settings.open_store(), outcome):
        say(where + note)


def show_results(settings: Settings, *outcomes: Outcome) -> None:
    """Their common report's scores, where to see more, and what is missing (exit code 1)."""
    report = outcomes[0].report
    assert report is not None, "a full run ends in a report"
    store = settings.open_store()
    names = "summary.parquet", "list_summary.parquet"
    for table in score_tables(*(store.read_frame(report, name) for name in names)):
        stdout().print(table)
    option = f" --store {settings.store}" if str(settings.store) != ".metaem" else ""
    say(f"report and figures: {store.folder(report)}")
    say(f"experiments:        metaem ui{option}")
    missing = [line for outcome in outcomes for line in outcome.missing]
    for line in missing:
        typer.echo(f"missing: {line}", err=True)
    if missing:
        raise typer.Exit(1)
