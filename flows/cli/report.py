"""``metaem report``: the newest report, to look at and to send."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Config, StoreFolder, open_store, plain_errors

Out = Annotated[Path | None, typer.Option(help="Copy the page to this file.")]
Open = Annotated[bool, typer.Option("--open", help="Show it in the browser.")]


def report(
    store: StoreFolder = None, config: Config = None, out: Out = None, show: Open = False
) -> None:
    """Tell where the newest report is: one page that needs no other file."""
    with plain_errors():
        from tasks.recommend.newest import newest_report

        opened = open_store(store, config)
        page = opened.file(newest_report(opened), "report.html")
        if out is not None:
            page = Path(shutil.copyfile(page, out))
        typer.echo(page.resolve())
        if show:
            typer.launch(page.resolve().as_uri())
