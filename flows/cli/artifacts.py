"""``metaem artifacts``: look at the store, check it, sweep it out."""

from typing import Annotated

import typer

from flows.cli.options import Config, StoreFolder, open_store
from flows.errors import plain_errors

artifacts = typer.Typer(no_args_is_help=True, help="Look at the store, check it, sweep it out.")

Prefix = Annotated[str, typer.Argument(help="Stage, stage/digest, or a beginning of either.")]


@artifacts.command("list")
def list_artifacts(prefix: Prefix = "", store: StoreFolder = None, config: Config = None) -> None:
    """Every artifact, the latest used first."""
    with plain_errors():
        from flows.cli.display import artifact_table, stdout
        from tasks.store.lookup import select

        opened = open_store(store, config)
        stdout().print(artifact_table(opened, select(opened, prefix)))


@artifacts.command()
def show(prefix: Prefix, store: StoreFolder = None, config: Config = None) -> None:
    """One artifact's manifest: inputs, settings, code, rows, seconds, versions."""
    with plain_errors():
        from flows.cli.display import stdout
        from tasks.store.lookup import manifest_text, select_one

        opened = open_store(store, config)
        stdout().print_json(manifest_text(opened, select_one(opened, prefix)))


@artifacts.command()
def verify(prefix: Prefix = "", store: StoreFolder = None, config: Config = None) -> None:
    """Compare every byte with what was recorded; exit code 1 if anything is damaged."""
    with plain_errors():
        from flows.cli.display import stdout
        from tasks.store.lookup import damages, select

        opened = open_store(store, config)
        checked = select(opened, prefix)
        found = list(damages(opened, checked))
        for damage in found:
            stdout().print(damage, style="red", markup=False)
        stdout().print(f"{len(checked)} artifacts, {len(found)} damaged")
        if found:
            raise typer.Exit(1)


@artifacts.command()
def gc(
    store: StoreFolder = None,
    config: Config = None,
    keep_days: Annotated[float, typer.Option(min=0, help="Keep what was used since.")] = 30.0,
    dry_run: Annotated[bool, typer.Option(help="Only say what would go.")] = False,
) -> None:
    """Delete what no recently used artifact was made from; downloaded files are kept."""
    with plain_errors():
        from flows.cli.display import stdout
        from tasks.store.gc import plan_sweep

        opened = open_store(store, config)
        sweep = plan_sweep(opened, keep_days)
        for folder in sweep.folders:
            stdout().print(str(folder.relative_to(opened.root)), highlight=False)
        if not dry_run:
            sweep.carry_out()
        verb = "would free" if dry_run else "freed"
        stdout().print(f"{verb} {sweep.size / 1e6:.1f} MB in {len(sweep.folders)} folders")
        kept = opened.root / "downloads"
        if kept.is_dir():
            stdout().print(f"kept what was downloaded: {kept}", soft_wrap=True, highlight=False)
