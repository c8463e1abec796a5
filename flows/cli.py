"""The command line. Heavy packages are imported where they are used: help must be instant."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flows.cold_start import Outcome
    from flows.settings import Settings
    from tasks.artifacts import Store

ENVIRONMENT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # errors are told in one line at the end
    # stages run side by side, and one thread each adds numbers up in the same order everywhere
    "OMP_NUM_THREADS": "1",
}

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
artifacts = typer.Typer(no_args_is_help=True, help="Look at the store, check it, sweep it out.")
app.add_typer(artifacts, name="artifacts")

Task = Annotated[str | None, typer.Option(help="<source>-<target>, such as movie-music.")]
From = Annotated[
    str | None,
    typer.Option("--source", help="synthetic, amazon-2014, amazon-2018, amazon-2023 or files."),
]
Betas = Annotated[str | None, typer.Option(help="Cold fractions, such as 0.2,0.5,0.8.")]
Seeds = Annotated[str | None, typer.Option(help="Seeds, such as 1,2,3.")]
Profile = Annotated[str | None, typer.Option(help="calibrated, or paper: equations as printed.")]
StoreFolder = Annotated[Path | None, typer.Option("--store", help="Folder of all results.")]
Config = Annotated[Path | None, typer.Option(help="TOML file of settings [metaem.toml].")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", help="Any setting: --set pretrain.epochs=10.")
]
Prefix = Annotated[str, typer.Argument(help="Stage, stage/digest, or a beginning of either.")]


@app.callback()
def common(
    debug: Annotated[bool, typer.Option(help="Show tracebacks and all logs.")] = False,
) -> None:
    """MetaEM: federated cross-domain recommendation to cold-start users."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if debug:
        os.environ["METAEM_DEBUG"] = "1"
        os.environ["PREFECT_LOGGING_LEVEL"] = "DEBUG"


@app.command()
def run(
    task: Task = None,
    source: From = None,
    betas: Betas = None,
    seeds: Seeds = None,
    profile: Profile = None,
    store: StoreFolder = None,
    config: Config = None,
    assignments: Assignments = None,
) -> None:
    """Run everything that is not up to date and show the scores."""
    with plain_errors():
        settings = _settings(task, source, betas, seeds, profile, store, config, assignments)
        _show_scores(settings, _run(settings))


@app.command()
def stage(
    name: Annotated[str, typer.Argument(help="download, filter, ..., report.")],
    task: Task = None,
    source: From = None,
    betas: Betas = None,
    seeds: Seeds = None,
    profile: Profile = None,
    store: StoreFolder = None,
    config: Config = None,
    assignments: Assignments = None,
    refresh: Annotated[bool, typer.Option(help="Compute it even if it is up to date.")] = False,
) -> None:
    """Run up to one stage, from earlier results where they are up to date."""
    with plain_errors():
        settings = _settings(task, source, betas, seeds, profile, store, config, assignments)
        _run(settings, frozenset({name} if refresh else ()), until=name)


@app.command()
def stats(
    task: Task = None,
    source: From = None,
    store: StoreFolder = None,
    config: Config = None,
    assignments: Assignments = None,
) -> None:
    """Show a task's users, items, ratings and overlap (the paper's Table 2)."""
    with plain_errors():
        settings = _settings(task, source, None, None, None, store, config, assignments)
        outcome = _run(settings, until="statistics")
        from flows.display import statistics_table, stdout
        from tasks.artifacts import Store

        assert outcome.statistics is not None, "the statistics stage left no artifact"
        frame = Store(settings.store).read_frame(outcome.statistics, "statistics.parquet")
        stdout().print(statistics_table(settings.task, frame))


@artifacts.command("list")
def list_artifacts(prefix: Prefix = "", store: StoreFolder = None, config: Config = None) -> None:
    """Every artifact, the latest used first."""
    with plain_errors():
        from flows.display import artifact_table, stdout
        from tasks.inspection import select

        opened = _store(store, config)
        stdout().print(artifact_table(opened, select(opened, prefix)))


@artifacts.command()
def show(prefix: Prefix, store: StoreFolder = None, config: Config = None) -> None:
    """One artifact's manifest: inputs, settings, code, rows, seconds, versions."""
    with plain_errors():
        from flows.display import stdout
        from tasks.inspection import manifest_text, select_one

        opened = _store(store, config)
        stdout().print_json(manifest_text(opened, select_one(opened, prefix)))


@artifacts.command()
def verify(prefix: Prefix = "", store: StoreFolder = None, config: Config = None) -> None:
    """Compare every byte with what was recorded; exit code 1 if anything is damaged."""
    with plain_errors():
        from flows.display import stdout
        from tasks.inspection import damages, select

        opened = _store(store, config)
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
    """Delete what no recently used artifact was made from."""
    with plain_errors():
        from flows.display import stdout
        from tasks.garbage import plan_sweep

        opened = _store(store, config)
        sweep = plan_sweep(opened, keep_days)
        for folder in sweep.folders:
            stdout().print(str(folder.relative_to(opened.root)), highlight=False)
        if not dry_run:
            sweep.carry_out()
        verb = "would free" if dry_run else "freed"
        stdout().print(f"{verb} {sweep.size / 1e6:.1f} MB in {len(sweep.folders)} folders")


@app.command()
def ui(
    store: StoreFolder = None,
    config: Config = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Show the experiments in a browser (MLflow on this machine only)."""
    with plain_errors():
        from tasks.tracking import Tracking, serve

        settings = _settings(store=store, config=config)
        where = Tracking.chosen(settings.tracking_uri, _store(store, config))
        typer.echo(f"http://127.0.0.1:{port} shows {where}; stop with Ctrl-C")
        serve(where, port)


@contextmanager
def plain_errors() -> Iterator[None]:
    """One line instead of a traceback: exit code 2 for what the caller can correct, else 1."""
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        if "METAEM_DEBUG" in os.environ:
            raise
        typer.echo(f"metaem: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, ValueError) else 1) from error


def _settings(
    task: str | None = None,
    source: str | None = None,
    betas: str | None = None,
    seeds: str | None = None,
    profile: str | None = None,
    store: Path | None = None,
    config: Path | None = None,
    assignments: list[str] | None = None,
) -> "Settings":
    from flows.settings import read_settings

    options = {
        "task": task,
        "source": source,
        "betas": betas,
        "seeds": seeds,
        "profile": profile,
        "store": store,
        "config": config,
    }
    return read_settings(options, assignments or ())


def _store(store: Path | None, config: Path | None) -> "Store":
    from tasks.artifacts import Store

    root = store or _settings(config=config).store
    if not root.is_dir():
        raise ValueError(f"no store at {str(root)!r}: run `metaem run` first, or name one: --store")
    return Store(root.resolve())


def _run(
    settings: "Settings", refresh: frozenset[str] = frozenset(), until: str = "report"
) -> "Outcome":
    from flows.cold_start import run as run_flow
    from flows.display import live
    from tasks.progress import listening

    with live() as listener, listening(listener):
        return run_flow(settings, refresh, until)


def _show_scores(settings: "Settings", outcome: "Outcome") -> None:
    from flows.display import score_tables, stdout
    from tasks.artifacts import Store

    assert outcome.report is not None, "a full run ends in a report"
    store = Store(settings.store)
    for table in score_tables(store.read_frame(outcome.report, "summary.parquet")):
        stdout().print(table)
    folder = store.folder(outcome.report)
    option = f" --store {settings.store}" if str(settings.store) != ".metaem" else ""
    stdout().print(f"report and figures: {folder}", soft_wrap=True, highlight=False)
    stdout().print(f"experiments:        metaem ui{option}", soft_wrap=True, highlight=False)


def main() -> None:
    """The ``metaem`` command."""
    app()
