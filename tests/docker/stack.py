"""Runs docker/compose.yaml's services without containers, and a night on them: ``make stack``.

Needs PostgreSQL's programs (Debian: ``apt-get install postgresql``) and some five minutes.
"""

import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from httpx import BasicAuth, get, post
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, DeploymentFilter
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_HOME,
    temporary_settings,
)
from prefect.states import Cancelling

from tests.conftest import SMALL
from tests.docker.native_stack import Stack
from tests.support.loopback import Quiet, serving
from tests.support.waiting import wait_until

NIGHTLY = "nightly/movie-music"
QUICK = ["factors.epochs=1", "transfer.epochs=1"]
LONG = ["synthetic.config.growth=2", "pretrain.epochs=500", "pretrain.patience=500"]
alerts: list[dict[str, str]] = []  # where METAEM_ALERT_URL leads


class Hear(Quiet):
    def do_POST(self) -> None:
        alerts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()


def start(name: str = NIGHTLY, **parameters: object) -> FlowRun:
    run = run_deployment(name, parameters=parameters, timeout=0, as_subflow=False)
    return run  # type: ignore[return-value]


def read(run: FlowRun) -> FlowRun:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run.id)


def ends(run: FlowRun, state: str) -> str:
    """What the run says in the end, which has to be this state."""

    def ended() -> bool:
        now = read(run).state
        return now is not None and now.is_final()

    wait_until(ended, f"{run.name} to end")
    last = read(run).state
    assert last is not None
    assert last.name == state, f"{run.name}: {last.name}: {last.message}"
    return str(last.message)


def artifacts(key: str) -> list[Any]:
    with get_client(sync_client=True) as client:
        return client.read_artifacts(artifact_filter=ArtifactFilter(key={"any_": [key]}))  # type: ignore[arg-type]


def nobody_gets_in_without_a_password(stack: Stack) -> None:
    prefect = f"http://{stack.addresses['prefect']}:4200/api"
    mlflow = f"http://{stack.addresses['mlflow']}:5000/api/2.0"
    version, right = (
        f"{prefect}/admin/version",
        BasicAuth(*stack.secrets["PREFECT_AUTH"].split(":")),
    )
    assert get(version, auth=right).status_code == 200
    assert get(version, auth=BasicAuth("admin", "no")).status_code == 401
    assert get(version).status_code == 401
    assert post(f"{prefect}/flows/filter", json={}, auth=right).status_code == 403  # no CSRF token
    search, nine = f"{mlflow}/mlflow/experiments/search", {"max_results": 9}
    assert post(search, json=nine).status_code == 401
    assert post(search, json=nine, headers={"Host": "evil.example"}).status_code == 403
    assert get(f"{mlflow}/mlflow-artifacts/artifacts").status_code == 401


def a_run_of_the_schedule_ends_in_both_servers(stack: Stack) -> None:
    run = start(betas=[0.3], assignments=SMALL)
    ends(run, "Completed")
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            deployment_filter=DeploymentFilter(id={"any_": [run.deployment_id]})  # type: ignore[arg-type]
        )
    planned = [each.expected_start_time for each in runs if each.auto_scheduled]
    assert {(each.hour, each.minute) for each in planned if each} == {(2, 0)}, planned
    assert [each.data for each in artifacts("nightly-movie-music-mlflow")]
    os.environ["MLFLOW_TRACKING_USERNAME"] = "admin"
    os.environ["MLFLOW_TRACKING_PASSWORD"] = stack.secrets["MLFLOW_PASSWORD"]
    from mlflow import MlflowClient

    mlflow = MlflowClient(f"http://{stack.addresses['mlflow']}:5000")
    known = mlflow.get_experiment_by_name("movie-music")
    assert known is not None
    logged = mlflow.search_runs([known.experiment_id])
    kinds = Counter(each.data.tags["kind"] for each in logged)
    assert (kinds["cell"], kinds["report"], kinds["recommender"]) == (1, 1, 1), kinds
    assert all(each.info.status == "FINISHED" for each in logged)
    assert mlflow.get_model_version_by_alias("metaem-movie-music", "champion").version == "1"
    counted = query(stack, "mlflow-db", "SELECT count(*) FROM runs")
    assert counted == str(len(logged)), counted


def table_3_runs_in_processes_of_its_own(stack: Stack) -> None:
    few = {"tasks": ["movie-music"], "betas": [0.3], "seeds": 1, "methods": ["emcdr"]}
    ends(start("weekly/table3", assignments=[*SMALL, *QUICK], **few), "Completed")
    assert "| emcdr |" in artifacts("weekly-table3")[0].data


def query(stack: Stack, name: str, statement: str) -> str:
    own = stack.environment(name)
    where = ["-h", stack.addresses[name], "-U", own["POSTGRES_USER"], "-d", own["POSTGRES_DB"]]
    password = f"PGPASSWORD={own['POSTGRES_PASSWORD']}"
    done = stack.run(name, "env", password, "psql", *where, "-tAc", statement)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def training(stack: Stack) -> bool:
    return bool([*(stack.folder / "worker" / "store").glob("checkpoints/**/*.safetensors")])


def a_run_is_cancelled_and_frees_its_place(stack: Stack) -> None:
    run = start(betas=[0.3], assignments=LONG)
    wait_until(lambda: training(stack), "training")
    second = start(betas=[0.3], assignments=SMALL)
    wait_until(lambda: read(second).state_name == "AwaitingConcurrencySlot", "the second to wait")
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Cancelling())
    ends(run, "Cancelled")
    ends(second, "Completed")


def a_dead_machine_is_noticed(stack: Stack) -> None:
    """kill -9 of a run and its worker at once; the server alone is left to see it."""
    run = start(betas=[0.3], assignments=LONG)
    wait_until(lambda: read(run).state_name == "Running", "the run")
    time.sleep(5)  # its first heartbeat
    stack.kill("worker")
    assert read(run).state_name == "Running"
    assert "no heartbeat" in ends(run, "Crashed")
    stack.start("worker")
    wait_until(lambda: bool(alerts), "the alert")
    assert "nightly movie-music: Crashed" in alerts.pop()["text"]


def every_server_is_healthy(stack: Stack) -> None:
    for name, service in stack.services.items():
        if "healthcheck" in service:
            wait_until(partial(stack.healthy, name), f"{name} to be healthy")


CHECKS: list[Callable[[Stack], None]] = [
    every_server_is_healthy,
    nobody_gets_in_without_a_password,
    a_run_of_the_schedule_ends_in_both_servers,
    table_3_runs_in_processes_of_its_own,
    a_run_is_cancelled_and_frees_its_place,
    a_dead_machine_is_noticed,
]


def main() -> None:
    """Bring the stack up, try everything, and bring it down."""
    with (
        serving(Hear) as os.environ["METAEM_ALERT_URL"],
        tempfile.TemporaryDirectory(prefix="metaem-stack-") as root,
        Stack(Path(root)) as stack,
    ):
        stack.folder.chmod(0o711)  # PostgreSQL has a user of its own
        try:
            _try(stack)
        except BaseException:
            for log in sorted(stack.folder.glob("*.log")):
                sys.stderr.write(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}\n")
            raise


def _try(stack: Stack) -> None:
    client = stack.environment("setup")
    ours = {
        PREFECT_API_URL: client["PREFECT_API_URL"],
        PREFECT_API_AUTH_STRING: client["PREFECT_API_AUTH_STRING"],
        PREFECT_HOME: stack.folder / "client",
    }
    for step in (Stack.up, *CHECKS):
        begun = time.monotonic()
        with temporary_settings(ours):
            step(stack)
        seconds = time.monotonic() - begun
        sys.stdout.write(f"{step.__name__.replace('_', ' ')} ({seconds:.0f} s)\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
