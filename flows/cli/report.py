"""``metaem report``: the newest report, to look at and to send."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import STORE, command

if TYPE_CHECKING:
    from tasks.store.artifacts import ArtifactRef, Store
    from tasks.store.manifests import Manifest

Out = Annotated[Path | None, typer.Option(help="Copy the page to this file.")]
Open = Annotated[bool, typer.Option("--open", help="Show it in the browser.")]


@command(*STORE)
def report(store: "Store", out: Out = None, show: Open = False) -> None:
    """Tell where the newest report is: one page that needs no other file."""
    page = store.file(newest_report(store), "report.html")
    if out is not None:
        page = Path(shutil.copyfile(page, out))
    typer.echo(page.resolve())
    if show:
        typer.launch(page.resolve().as_uri())


def newest_report(store: "Store") -> "ArtifactRef":
    """The report that was computed or used last, brought up to date with the code."""
    from tasks.stages.report import report as stage
    from tasks.store.lookup import select
    from tasks.store.manifests import MANIFEST
    from tasks.store.source_digest import code_digest

    reports = select(store, "report/")
    if not reports:
        raise ValueError(f"no report in {str(store.root)!r}: `metaem run` makes one")
    newest = max(reports, key=lambda ref: (store.folder(ref) / MANIFEST).stat().st_mtime)
    store.verify(newest)
    manifest = store.manifest(newest)
    if manifest.provenance.code == code_digest(stage.fn.__module__):
        return newest
    return _recomputed(store, manifest)


def _recomputed(store: "Store", manifest: "Manifest") -> "ArtifactRef":
    """The report of the same inputs."""
    from tasks.models.method_id import METHODS
    from tasks.stages.report import ReportRequest
    from tasks.stages.report import report as stage

    inputs = {name: [*refs] for name, refs in manifest.provenance.inputs.items()}
    for ref in inputs.get("evaluations", []):
        if METHODS not in store.manifest(ref).files:
            raise ValueError(f"{ref} was evaluated by an older version: repeat `metaem run`")
    request = ReportRequest(**manifest.provenance.config)  # type: ignore[arg-type]  # our own
    names = ("evaluations", "rankings", "statistics", "pictures")
    parts = {name: inputs.get(name, []) for name in names}
    return stage.fn(store, request, **parts)
