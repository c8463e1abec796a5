"""``metaem federation``: real devices on this machine, for trying out what runs on them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import STAGES, command

if TYPE_CHECKING:
    from flows.settings import Settings

federation = typer.Typer(no_args_is_help=True, help="Real devices on this machine.")

Devices = Annotated[int, typer.Option(min=1, help="Users that get a device.")]
Nodes = Annotated[int, typer.Option(min=1, help="SuperNodes, which hold them.")]
Timeout = Annotated[
    float, typer.Option("--patience", min=1, help="Seconds that a silent node is waited for.")
]
Flower = Annotated[Path, typer.Option(help="Programs of the environment that has Flower.")]


@federation.callback()
def common() -> None:
    """Real devices on this machine."""


@federation.command()
@command("task", *STAGES)
def up(
    settings: "Settings",
    devices: Devices = 30,
    nodes: Nodes = 3,
    timeout: Timeout = 60.0,
    flower: Flower = Path(".venv-flower/bin"),
) -> None:
    """Give users of both domains a device each, start a SuperLink and its nodes; until Ctrl-C."""
    from flows.cli.display import progress
    from flows.experiment import run
    from flows.federation.loopback import Loopback, leave_on_signals, serve
    from tasks.flower.assign import FEDERATION, assign

    with progress():
        domains = dict(run(settings, until="twins").domains)
    refs = [domains[name] for name in settings.domains]
    loopback = Loopback(settings.store.resolve() / FEDERATION, flower.absolute())
    loopback.claim()
    leave_on_signals()
    try:
        count = assign(settings.open_store(), refs, settings.domains, devices, nodes)
        loopback.start(nodes, timeout)
        typer.echo(f"{count} devices on {nodes} nodes, at {loopback.address}")
        typer.echo("train on them: metaem run --backend flower; Ctrl-C ends the federation")
        serve(loopback)
    finally:
        loopback.stop()
