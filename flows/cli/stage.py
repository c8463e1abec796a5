"""``metaem stage``: the experiment up to one stage."""

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import STAGES, command

if TYPE_CHECKING:
    from flows.settings import Settings

Name = Annotated[str, typer.Argument(help="download, filter, ..., report.")]
Refresh = Annotated[bool, typer.Option(help="Compute it even if it is up to date.")]


@command("task", "betas", "seeds", "profile", *STAGES)
def stage(settings: "Settings", name: Name, refresh: Refresh = False) -> None:
    """Run up to one stage, from earlier results where they are up to date; show its artifacts."""
    from flows.cli.display import say
    from flows.cli.outcome import run_stages
    from flows.steps import ALIASES

    name = ALIASES.get(name, name)
    outcome = run_stages(settings, frozenset({name} if refresh else ()), until=name)
    store = settings.open_store()
    for run, ref in outcome.artifacts:
        if ref.stage == name:
            say(f"{run}: {store.folder(ref)}")
