"""``metaem federation``: real devices on this machine, for trying out what runs on them."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import (
    Assignments,
    Config,
    From,
    Mirror,
    Offline,
    StoreFolder,
    Task,
    open_settings,
)
from flows.errors import plain_errors

federation = typer.Typer(no_args_is_help=True, help="Real devices on this machine.")


@federation.callback()
def common() -> None:
    """Real devices on this machine."""


@federation.command()
def up(
    context: typer.Context,
    devices: Annotated[int, typer.Option(min=1, help="Users that get a device.")] = 30,
    nodes: Annotated[int, typer.Option(min=1, help="SuperNodes, which hold them.")] = 3,
    patience: Annotated[
        float, typer.Option(min=1, help="Seconds that a silent node is waited for.")
    ] = 60.0,
    flower: Annotated[
        Path, typer.Option(help="Programs of the environment that has Flower.")
    ] = Path(".venv-flower/bin"),
    task: Task = None,
    source: From = None,
    mirror: Mirror = None,
    offline: Offline = None,
    store: StoreFolder = None,
    config: Config = None,
    assignments: Assignments = None,
) -> None:
    """Give users of both domains a device each, start a SuperLink and its nodes; until Ctrl-C."""
    with plain_errors():
        settings = open_settings(context.params)
        from flows.cli.display import shown
        from flows.cold_start import run
        from flows.federation.loopback import Loopback, leave_on_signals, serve
        from tasks.flower.assign import FEDERATION, deal

        with shown():
            domains = dict(run(settings, until="filter").domains)
        refs = [domains[name] for name in settings.domains]
        loopback = Loopback(settings.store.resolve() / FEDERATION, flower.absolute())
        loopback.claim()
        leave_on_signals()
        try:
            count = deal(settings.open_store(), refs, settings.domains, devices, nodes)
            loopback.start(nodes, patience)
            typer.echo(f"{count} devices on {nodes} nodes, at {loopback.address}")
            typer.echo("train on them: metaem run --backend flower; Ctrl-C ends the federation")
            serve(loopback)
        finally:
            loopback.stop()
