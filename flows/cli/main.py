"""The command line. Heavy packages are imported where they are used: help must be instant."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.artifacts import artifacts
from flows.cli.bytes import bytes_
from flows.cli.federation import federation
from flows.cli.options import (
    Address,
    Assignments,
    Backend,
    Bases,
    Betas,
    Config,
    From,
    Methods,
    Mirror,
    Offline,
    Profile,
    Runner,
    Seeds,
    StoreFolder,
    Task,
    Tasks,
    Workers,
    open_settings,
    open_store,
)
from flows.cli.privacy_audit import privacy_audit
from flows.cli.recommend import recommend, register
from flows.cli.report import report
from flows.cli.serve import serve
from flows.errors import plain_errors

if TYPE_CHECKING:
    from flows.grid import Outcome
    from flows.settings import Settings
    from tasks.store.artifacts import ArtifactRef

ENVIRONMENT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # errors are told in one line at the end
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # 20 are few on a busy machine
    "PREFECT_CLIENT_MAX_RETRIES": "3",  # 14 s: without its server a flow ends soon
    # stages run side by side, and one thread each adds numbers up in the same order everywhere
    "OMP_NUM_THREADS": "1",
}

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(artifacts, name="artifacts")
app.add_typer(federation, name="federation")
app.command("bytes")(bytes_)
app.command()(privacy_audit)
app.command()(recommend)
app.command()(register)
app.command()(report)
app.command()(serve)


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
    context: typer.Context,
    task: Task = None,
    source: From = None,
    betas: Betas = None,
    seeds: Seeds = None,
    profile: Profile = None,
    backend: Backend = None,
    mirror: Mirror = None,
    offline: Offline = None,
    store: StoreFolder = None,
    config: Config = None,
    assignments: Assignments = None,
) -> None:
    """Run everything that is not up to date and show the scores."""
    with plain_errors():
        settings = open_settings(context.params)
        outcome = _run(settings)
        _show_scores(settings, outcome.report)
        _show_missing(outcome)


@app.command()
def table3(
    context: typer.Context,
    tasks: Tasks = "movie-music,book-movie,book-music",
    source: From = None,
    betas: Betas = None,
    methods: Methods = None,
    bases: Bases = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="How many: 10 are 1 to 10.")] = None,
    runner: Runner = "local",
    address: Address = None,
    workers: Workers = None,
    mirror: Mirror = None,
    offline: Offline = None,
    store: StoreFolder = None,
    config: Config = None,
    assignments: Assignments = None,
) -> None:
    """Run all of Table 3: every task, cold fraction, method, base model; ten seeds."""
    with plain_errors():
        numbers = ",".join(str(seed) for seed in range(1, seeds + 1)) if seeds else None
        settings = open_settings({**context.params, "seeds": numbers})
        from flows.cli.display import shown
        from flows.table3 import Sweep, completed, run

        settings = completed(settings)
        sweep = Sweep.of(settings, tasks.split(","), runner, address)
        with shown():
            done = run(settings, sweep)
        for task, outcome in done.outcomes.items():
            _show_notes(settings, outcome, f"{task}, ")
        _show_scores(settings, done.report)
        _show_missing(*done.outcomes.values())


@app.command()
def stage(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="download, filter, ..., report.")],
    task: Task = None,
    source: From = None,
    betas: Betas = None,
    seeds: Seeds = None,
    profile: Profile = None,
    mirror: Mirror = None,
    offline: Offline = None,
    store: StoreFolder = None,
    config: Config = None,
    assignments: Assignments = None,
    refresh: Annotated[bool, typer.Option(help="Compute it even if it is up to date.")] = False,
) -> None:
    """Run up to one stage, from earlier results where they are up to date; show its artifacts."""
    with plain_errors():
        settings = open_settings(context.params)
        outcome = _run(settings, frozenset({name} if refresh else ()), until=name)
        _show_artifacts(settings, name, outcome)


@app.command()
def stats(
    context: typer.Context,
    task: Task = None,
    source: From = None,
    mirror: Mirror = None,
    offline: Offline = None,
    store: StoreFolder = None,
    config: Config = None,
    assignments: Assignments = None,
) -> None:
    """Show a task's users, items, ratings and overlap (the paper's Table 2)."""
    with plain_errors():
        settings = open_settings(context.params)
        outcome = _run(settings, until="statistics")
        from flows.cli.display import statistics_table, stdout

        assert outcome.statistics is not None, "the statistics stage left no artifact"
        frame = settings.open_store().read_frame(outcome.statistics, "statistics.parquet")
        stdout().print(statistics_table(settings.task, frame))


@app.command()
def ui(
    store: StoreFolder = None,
    config: Config = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Show the experiments in a browser (MLflow on this machine only)."""
    with plain_errors():
        from tasks.tracking.mlflow import Tracking, serve

        settings = open_settings({"store": store, "config": config})
        where = Tracking.chosen(settings.tracking_uri, open_store(store, config))
        typer.echo(f"http://127.0.0.1:{port} shows {where}; stop with Ctrl-C")
        serve(where, port)


def _run(
    settings: "Settings", refresh: frozenset[str] = frozenset(), until: str = "report"
) -> "Outcome":
    from flows.cli.display import shown
    from flows.cold_start import run as run_flow

    with shown():
        outcome = run_flow(settings, refresh, until)
    _show_notes(settings, outcome)
    return outcome


def _show_notes(settings: "Settings", outcome: "Outcome", where: str = "") -> None:
    from flows.cli.display import stdout
    from flows.notes import notes

    for note in notes(settings.open_store(), outcome):
        stdout().print(where + note, soft_wrap=True, highlight=False, markup=False)


def _show_scores(settings: "Settings", reported: "ArtifactRef | None") -> None:
    from flows.cli.display import score_tables, stdout

    assert reported is not None, "a full run ends in a report"
    store = settings.open_store()
    for table in score_tables(store.read_frame(reported, "summary.parquet")):
        stdout().print(table)
    folder = store.folder(reported)
    option = f" --store {settings.store}" if str(settings.store) != ".metaem" else ""
    stdout().print(f"report and figures: {folder}", soft_wrap=True, highlight=False)
    stdout().print(f"experiments:        metaem ui{option}", soft_wrap=True, highlight=False)


def _show_missing(*outcomes: "Outcome") -> None:
    """What a report has to do without; exit code 1 if there is anything."""
    missing = [line for outcome in outcomes for line in outcome.missing]
    for line in missing:
        typer.echo(f"missing: {line}", err=True)
    if missing:
        raise typer.Exit(1)


def _show_artifacts(settings: "Settings", stage: str, outcome: "Outcome") -> None:
    from flows.cli.display import stdout

    store = settings.open_store()
    for name, ref in outcome.made:
        if ref.stage == stage:
            folder = store.folder(ref)
            stdout().print(f"{name}: {folder}", soft_wrap=True, highlight=False, markup=False)


def main() -> None:
    """The ``metaem`` command."""
    app()


if __name__ == "__main__":
    main()
