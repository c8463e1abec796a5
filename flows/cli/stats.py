"""``metaem stats``: how large a task's domains are."""

from typing import TYPE_CHECKING

from flows.cli.options import STAGES, command

if TYPE_CHECKING:
    from flows.settings import Settings


@command("task", *STAGES)
def stats(settings: "Settings") -> None:
    """Show a task's users, items, ratings and overlap (the paper's Table 2)."""
    from flows.cli.display import stdout
    from flows.cli.outcome import run_stages
    from flows.cli.tables import statistics_table, twins_table

    outcome = run_stages(settings, until="statistics")
    assert outcome.statistics is not None, "the statistics stage left no artifact"
    assert outcome.twins is not None, "the twins stage left no artifact"
    store = settings.open_store()
    frame = store.read_frame(outcome.statistics, "statistics.parquet")
    stdout().print(statistics_table(settings.task, frame))
    pairs = store.read_frame(outcome.twins, "twins.parquet")
    if not pairs.is_empty():
        stdout().print(twins_table(settings.task, pairs))
