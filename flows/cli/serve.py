"""``metaem serve``: schedules kept, and their runs made, by one process."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.options import Config, StoreFolder, open_settings
from flows.errors import plain_errors

Schedules = Annotated[Path, typer.Option(help="What runs when, in the form of prefect.yaml.")]


def serve(
    schedules: Schedules = Path("prefect.yaml"), store: StoreFolder = None, config: Config = None
) -> None:
    """Run what prefect.yaml schedules, each run in a process of its own, until Ctrl-C."""
    with plain_errors():
        told = _read(schedules)
        _prepare(told)
        settings = open_settings({"store": store, "config": config})
        os.environ["METAEM_STORE"] = str(settings.store.resolve())
        if config is not None:
            os.environ["METAEM_CONFIG"] = str(config.resolve())
        from flows.schedule.deployments import deployment, reach_server, run, watch_runs

        url = reach_server()
        deployments = [deployment(each) for each in told]
        watch_runs()
        for each in deployments:
            typer.echo(f"{each.flow_name}/{each.name}")
        typer.echo(f"results in {os.environ['METAEM_STORE']}, runs at {url}; stop with Ctrl-C")
        run(deployments)


def _read(schedules: Path) -> list[dict[str, Any]]:
    import yaml

    try:
        content = yaml.safe_load(schedules.read_text())
        told = [dict(each) for each in content["deployments"]]
        for each in told:
            pool = each.get("work_pool") or {}
            variables = (pool.get("job_variables") or {}).get("env") or {}
            each["environment"] = {str(name): str(value) for name, value in variables.items()}
        return told
    except OSError as error:
        raise ValueError(f"no schedules at {str(schedules)!r}: {error.strerror}") from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"schedules at {str(schedules)!r} cannot be read: {said}") from error


def _prepare(deployments: list[dict[str, Any]]) -> None:
    """Give this process, before it loads Prefect, and so its runs, what workers give theirs."""
    for each in deployments:
        os.environ |= each["environment"]
    if os.environ["PREFECT_LOGGING_LEVEL"] == "CRITICAL":  # as for commands that a person watches
        os.environ["PREFECT_LOGGING_LEVEL"] = "INFO"
