"""``metaem ui``: the experiments in MLflow's own pages."""

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import STORE, command

if TYPE_CHECKING:
    from flows.settings import Settings
    from tasks.store.artifacts import Store

Port = Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")]


@command(*STORE)
def ui(settings: "Settings", store: "Store", port: Port = 5000) -> None:
    """Show the experiments in a browser (MLflow on this machine only)."""
    from tasks.tracking.server import Tracking, serve

    where = Tracking.chosen(settings.tracking_uri, store)
    typer.echo(f"http://127.0.0.1:{port} shows {where}; stop with Ctrl-C")
    serve(where, port)
