"""The command line. Heavy packages are imported where they are used: help must be instant."""

import os
from typing import Annotated

import typer

from flows.cli.artifacts import artifacts
from flows.cli.bytes import bytes_
from flows.cli.federation import federation
from flows.cli.privacy_audit import privacy_audit
from flows.cli.recommend import recommend
from flows.cli.register import register
from flows.cli.report import report
from flows.cli.run import run
from flows.cli.serve import serve
from flows.cli.stage import stage
from flows.cli.stats import stats
from flows.cli.table3 import table3
from flows.cli.ui import ui

ENVIRONMENT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # errors are one line at the end
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
for command in (privacy_audit, recommend, register, report, serve, run, table3, stage, stats, ui):
    app.command()(command)


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


def main() -> None:
    """The ``metaem`` command."""
    app()


if __name__ == "__main__":
    main()
