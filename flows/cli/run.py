"""``metaem run``: the whole experiment."""

from typing import TYPE_CHECKING

from flows.cli.options import STAGES, command

if TYPE_CHECKING:
    from flows.settings import Settings


@command("task", "betas", "seeds", "profile", "backend", *STAGES)
def run(settings: "Settings") -> None:
    """Run everything that is not up to date and show the scores."""
    from flows.cli.outcome import run_stages, show_results

    show_results(settings, run_stages(settings))
