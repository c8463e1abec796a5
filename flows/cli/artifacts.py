"""``metaem artifacts``: look at the store, check it, sweep it out."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import STORE, command

if TYPE_CHECKING:
    from tasks.store.artifacts import Store

artifacts = typer.Typer(no_args_is_help=True, help="Look at the store, check it, sweep it out.")

Prefix = Annotated[str, typer.Argument(help="Stage, stage/digest, or a beginning of either.")]
KeepDays = Annotated[float, typer.Option(min=0, help="Keep what was used since.")]
DryRun = Annotated[bool, typer.Option(help="Only say what would go.")]


@artifacts.command("list")
@command(*STORE)
def list_artifacts(store: "Store", prefix: Prefix = "") -> None:
    """Every artifact, the latest used first."""
    from flows.cli.display import stdout
    from flows.cli.tables import artifact_table
    from tasks.store.lookup import select

    stdout().print(artifact_table(store, select(store, prefix)))


@artifacts.command()
@command(*STORE)
def show(store: "Store", prefix: Prefix) -> None:
    """One artifact's manifest: inputs, settings, code, rows, seconds, versions."""
    from flows.cli.display import stdout
    from tasks.store.lookup import select_one

    stdout().print_json(data=asdict(store.manifest(select_one(store, prefix))))


@artifacts.command()
@command(*STORE)
def verify(store: "Store", prefix: Prefix = "") -> None:
    """Compare every byte with what was recorded; exit code 1 if anything is damaged."""
    from flows.cli.display import say
    from tasks.store.lookup import damages, select

    checked = select(store, prefix)
    damaged = list(damages(store, checked))
    for damage in damaged:
        say(damage, style="red")
    say(f"{len(checked)} artifacts, {len(damaged)} damaged")
    if damaged:
        raise typer.Exit(1)


@artifacts.command()
@command(*STORE)
def gc(store: "Store", keep_days: KeepDays = 30.0, dry_run: DryRun = False) -> None:
    """Delete what no recently used artifact was made from; downloaded files are kept."""
    from flows.cli.display import say
    from tasks.store.gc import plan_sweep

    sweep = plan_sweep(store, keep_days)
    for folder in sweep.folders:
        say(str(folder.relative_to(store.root)))
    if not dry_run:
        sweep.carry_out()
    verb = "would free" if dry_run else "freed"
    say(f"{verb} {sweep.size / 1e6:.1f} MB in {len(sweep.folders)} folders")
    downloads = store.root / "downloads"
    if downloads.is_dir():
        say(f"kept what was downloaded: {downloads}")
