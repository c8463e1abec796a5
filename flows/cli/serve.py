"""``metaem serve``: keeps schedules and starts their runs, in one process."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.options import STORE, command, open_settings

Schedules = Annotated[Path, typer.Option(help="What runs when, in the form of prefect.yaml.")]


@command(*STORE)
def serve(
    options: Mapping[str, object],
    config: Path | None,
    schedules: Schedules = Path("prefect.yaml"),
) -> None:
    """Run what prefect.yaml schedules, each run in a process of its own, until Ctrl-C."""
    entries = _read(schedules)
    _prepare(entries)
    os.environ["METAEM_STORE"] = str(open_settings(options).store.resolve())
    if config is not None:
        os.environ["METAEM_CONFIG"] = str(config.resolve())
    from flows.schedule.deployments import deployment, reach_server, run, watch_runs

    url = reach_server()
    deployments = [deployment(entry) for entry in entries]
    watch_runs()
    for each in deployments:
        typer.echo(f"{each.flow_name}/{each.name}")
    typer.echo(f"results in {os.environ['METAEM_STORE']}, runs at {url}; stop with Ctrl-C")
    run(deployments)


def _read(schedules: Path) -> list[dict[str, Any]]:
    """The file's deployments."""
    import yaml

    try:
        entries = [dict(each) for each in yaml.safe_load(schedules.read_text())["deployments"]]
        for entry in entries:
            pool = entry.get("work_pool") or {}
            variables = (pool.get("job_variables") or {}).get("env") or {}
            entry["environment"] = {str(name): str(value) for name, value in variables.items()}
        return entries
    except OSError as error:
        raise ValueError(f"no schedules at {str(schedules)!r}: {error.strerror}") from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"schedules at {str(schedules)!r} cannot be read: {reason}") from error


def _prepare(entries: list[dict[str, Any]]) -> None:
    """Give this process, before it loads Prefect, and so its runs, what workers give theirs."""
    for entry in entries:
        os.environ |= entry["environment"]
    if os.environ["PREFECT_LOGGING_LEVEL"] == "CRITICAL":  # the default of other commands
        os.environ["PREFECT_LOGGING_LEVEL"] = "INFO"
