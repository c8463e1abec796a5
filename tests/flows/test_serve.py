"""A real Prefect server plans a run, and ``metaem serve`` makes it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from traceback import format_exception
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
import yaml
from prefect import Flow, flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, FlowFilter, FlowRunFilter, LogFilter
from prefect.client.schemas.objects import FlowRun
from prefect.events.worker import EventsWorker
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings
from typer.testing import CliRunner

from flows.cli.main import app
from flows.schedule.attempt import attempt
from flows.schedule.deployments import SILENCE, deployment
from flows.schedule.nightly import nightly
from flows.schedule.notice import notice
from flows.schedule.parameters import scheduled_settings
from flows.settings import BadSettings
from flows.steps import Outcome
from tests.conftest import SMALL
from tests.faults.clock import can_be_wrong, wrong_clock
from tests.faults.prefect import prefect_server
from tests.support.loopback import loopback
from tests.support.waiting import ProcessTree, deadline, marked, wait_until

pytestmark = pytest.mark.night

ROOT = Path(__file__).parents[2]
NIGHTLY = "nightly/movie-music"


def schedules() -> list[dict[str, Any]]:
    return list(yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"])


@dataclass(frozen=True)
class Served:
    """Where the served process and the server have their files."""

    folder: Path
    process: ProcessTree

    @property
    def said(self) -> str:
        return (self.folder / "serve.log").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own: the one that other tests share neither plans runs nor hears events."""
    often = {"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5"}
    home = tmp_path_factory.mktemp("prefect")
    with (
        prefect_server(home, **often) as (url, _),
        temporary_settings({PREFECT_API_URL: url}),
    ):
        yield url
        EventsWorker.drain_all()  # what waits for a server that is gone waits for ever


@pytest.fixture(scope="module")
def served(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """prefect.yaml, with a nightly run every half minute and small parameters."""
    folder = tmp_path_factory.mktemp("served")
    nightly, *others = schedules()
    often = "RRULE:FREQ=SECONDLY;INTERVAL=30"
    parameters = {"task": "movie-music", "betas": [0.3], "assignments": SMALL}
    nightly |= {"schedules": [{"rrule": often, "slug": "often"}], "parameters": parameters}
    (folder / "often.yaml").write_text(yaml.safe_dump({"deployments": [nightly, *others]}))
    environment = {
        **os.environ,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": server,
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_RUNNER_POLL_FREQUENCY": "2",
        "METAEM_TRACKING_URI": "http://127.0.0.1:9",  # nobody is there
    }
    command = [sys.executable, "-m", "flows.cli.main", "serve", "--schedules", "often.yaml"]
    with (folder / "serve.log").open("wb") as log:
        environment["PYTHONPATH"] = str(ROOT)
        with ProcessTree(command, environment, cwd=folder, stdout=log, stderr=log) as process:
            wait_until(partial(deployed, "notice/failed-runs"), "the last deployment")
            yield Served(folder, process)


@pytest.fixture
def client(server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def deployed(name: str) -> bool:
    with suppress(ObjectNotFound), get_client(sync_client=True) as client:
        return bool(client.read_deployment_by_name(name))
    return False


def runs_of(client: SyncPrefectClient, name: str) -> list[FlowRun]:
    return client.read_flow_runs(flow_filter=FlowFilter(name={"any_": [name]}))  # type: ignore[arg-type]


def began(client: SyncPrefectClient) -> list[FlowRun]:
    return [run for run in runs_of(client, "nightly") if run.state_name in ("Running", "Completed")]


def ended(client: SyncPrefectClient, name: str, state: str) -> FlowRun:
    def matches() -> list[FlowRun]:
        return [run for run in runs_of(client, name) if run.state_name == state]

    wait_until(lambda: bool(matches()), f"a {name} run in state {state}")
    return matches()[0]


def logged(client: SyncPrefectClient, runs: list[UUID], start: str) -> bool:
    """Whether a line of the runs' logs begins so; logs arrive late, and in pages."""
    these = LogFilter(flow_run_id={"any_": runs})  # type: ignore[arg-type]
    pages = [client.read_logs(these, offset=offset) for offset in (0, 200, 400)]
    return any(log.message.startswith(start) for page in pages for log in page)


def artifact(client: SyncPrefectClient, key: str) -> str:
    (newest,) = client.read_artifacts(artifact_filter=ArtifactFilter(key={"any_": [key]}))  # type: ignore[arg-type]
    return str(newest.data)


def test_a_planned_run_leaves_its_scores_in_prefect(
    served: Served, client: SyncPrefectClient
) -> None:
    wait_until(lambda: bool(began(client)), "a planned run")
    nightly = client.read_deployment_by_name(NIGHTLY)
    for each in client.read_deployment_schedules(nightly.id):
        client.delete_deployment_schedule(nightly.id, each.id)
    run = ended(client, "nightly", "Completed")
    assert run.auto_scheduled
    assert (run.name, run.tags) == ("nightly movie-music", ["auto-scheduled", "metaem"])
    assert "| metaem |" in artifact(client, "nightly-movie-music")
    page = Path(artifact(client, "nightly-movie-music-report").split("(file://")[1].rstrip(")"))
    assert page.is_relative_to(served.folder / ".metaem" / "report")
    assert page.is_file()
    (inner,) = runs_of(client, "cold-start")
    for line in ("computed mapping movie-music", "the results are complete in"):
        wait_until(partial(logged, client, [run.id, inner.id], line), f"a line {line!r} in its log")
    stages = client.read_task_runs(
        flow_run_filter=FlowRunFilter(id={"any_": [inner.id]})  # type: ignore[arg-type]
    )
    assert {stage.name.split()[0] for stage in stages} >= {"download", "mapping", "report"}
    assert not [*(served.folder / "prefect").glob("storage/*")], "Prefect kept a result"


def test_bad_parameters_are_refused_by_the_server(
    served: Served, client: SyncPrefectClient
) -> None:
    nightly = client.read_deployment_by_name(NIGHTLY)
    login = ["mirror=https://me:swordfish@host"]
    for wrong in ({"betas": [7]}, {"source": "imdb"}, {"seeds": []}, {"assignments": login}):
        with pytest.raises(PrefectHTTPStatusError) as refusal:
            client.create_flow_run_from_deployment(nightly.id, parameters=wrong)
        assert refusal.value.response.status_code == 409


def test_what_only_the_settings_know_fails_once_and_is_reported(
    served: Served, client: SyncPrefectClient
) -> None:
    nightly = client.read_deployment_by_name(NIGHTLY)
    wrong = {"assignments": ["pretrain.epochz=1"]}
    client.create_flow_run_from_deployment(nightly.id, parameters=wrong)
    run = ended(client, "nightly", "Failed")
    assert run.state is not None
    assert "unknown setting 'pretrain.epochz'" in str(run.state.message)
    ended(client, "notice", "Completed")
    assert "nightly movie-music: Failed" in artifact(client, "failed-runs")


def test_a_signal_ends_it_and_its_run_with_it(served: Served, client: SyncPrefectClient) -> None:
    nightly = client.read_deployment_by_name(NIGHTLY)
    long = [*SMALL, "pretrain.epochs=5000", "pretrain.patience=5000"]
    run = client.create_flow_run_from_deployment(nightly.id, parameters={"assignments": long})
    store = served.folder / ".metaem"
    wait_until(lambda: bool([*store.glob("checkpoints/**/*.safetensors")]), "training")
    before = served.said
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(deadline()) == 0, served.said
    assert "Traceback" not in served.said.removeprefix(before)
    assert client.read_flow_run(run.id).state_name == "Cancelled"
    assert not marked(f"PREFECT__FLOW_RUN_ID={run.id}")


@pytest.mark.parametrize(
    ("url", "schedules", "message", "code"),
    [
        (None, "prefect.yaml", "set PREFECT_API_URL", 2),
        ("http://127.0.0.1:9/api", "prefect.yaml", "no Prefect server answers", 1),
        (None, "nowhere.yaml", "no schedules at 'nowhere.yaml'", 2),
        (None, "pyproject.toml", "cannot be read", 2),
    ],
)
def test_without_a_server_or_schedules_it_says_so(
    url: str | None, schedules: str, message: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with patch.dict(os.environ), temporary_settings({PREFECT_API_URL: url}):
        done = CliRunner().invoke(app, ["serve", "--schedules", schedules])
    assert (done.exit_code, done.output.count("\n")) == (code, 1), done.output
    assert message in done.output


@pytest.mark.parametrize("entry", schedules(), ids=lambda entry: str(entry["name"]))
def test_what_is_scheduled_fits_the_flow(entry: dict[str, Any]) -> None:
    served = deployment(entry)
    if served.schedules:
        planned: Flow[..., None] = resolve_name(str(entry["entrypoint"]))
        planned.validate_parameters(served.parameters)
        beat = entry["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]
        assert timedelta(seconds=int(beat)) * 3 < SILENCE
    again = json.loads(served.model_dump_json())
    assert again["concurrency_limit"] == (1 if served.schedules else None)


@pytest.mark.parametrize(
    ("error", "attempts"), [(RuntimeError("the network"), 4), (ValueError("a typo"), 1)]
)
def test_only_what_may_pass_is_tried_again(
    server: str, tmp_path: Path, error: Exception, attempts: int
) -> None:
    tried: list[object] = []

    def fail(settings: object) -> dict[str, Outcome]:
        tried.append(settings)
        raise error

    @flow
    def outer() -> None:
        patient = attempt.with_options(retry_delay_seconds=0)
        patient("nightly", scheduled_settings((), store=tmp_path), fail)

    with pytest.raises(type(error)):
        outer()
    assert len(tried) == attempts


@pytest.mark.skipif(not can_be_wrong(), reason="needs a C compiler")
@pytest.mark.parametrize(
    ("ahead", "message"),
    [
        (-600, "(5[0-9]{2}|600) s behind the Prefect server's"),
        (600, "6[0-9]{2} s ahead of"),
        (0, "^$"),
    ],
)
def test_on_a_machine_whose_clock_is_wrong_a_run_says_so(
    server: str, tmp_path: Path, ahead: int, message: str
) -> None:
    """The server would take its heartbeats for missing, and the run for dead."""
    command = "from flows.schedule.attempt import require_right_clock; require_right_clock()"
    clock = {"PREFECT_API_URL": server, **wrong_clock(tmp_path, ahead)}
    done = subprocess.run(
        [sys.executable, "-c", command],
        env=os.environ | clock,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert re.search(message, done.stderr), done.stderr
    assert (done.returncode == 0) == (ahead == 0)


def test_what_is_raised_holds_no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("METAEM_SHARED", "S3://me:swordfish@bucket")
    with pytest.raises(BadSettings, match="setting 'shared'") as raised:
        nightly.fn(store=str(tmp_path))
    assert "swordfish" not in "".join(format_exception(raised.value))


def test_an_alert_that_cannot_be_sent_does_not_reveal_its_address(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with loopback() as deaf:  # to POST
        for place, message in (
            ("http://127.0.0.1:9", "cannot be reached"),
            (deaf.url, "answers 501"),
        ):
            monkeypatch.setenv("METAEM_ALERT_URL", f"{place}/swordfish")
            with pytest.raises(RuntimeError, match=f"METAEM_ALERT_URL {message}") as raised:
                notice("nightly", "Failed")
            assert "swordfish" not in "".join(format_exception(raised.value))


def test_a_store_that_depends_on_the_workers_folder_is_refused() -> None:
    with pytest.raises(BadSettings, match="METAEM_STORE"):
        nightly.fn()
