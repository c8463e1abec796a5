"""What is logged to MLflow, once, and what happens when it cannot be reached."""

import logging
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from flows.federation.loopback import free_port
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.lookup import ancestors
from tasks.tracking.mlflow import MAX_DIGEST, track
from tasks.tracking.server import Tracking, serve
from tests.conftest import FinishedRun
from tests.support.mlflow_server import mlflow_server
from tests.support.unruly import MANNERS, unruly
from tests.support.waiting import ProcessTree, answers, deadline, wait_until

pytestmark = pytest.mark.night


@pytest.fixture(scope="session")
def client(finished_run: FinishedRun) -> MlflowClient:
    return MlflowClient(Tracking.inside(finished_run.store).uri)


def runs(client: MlflowClient, query: str = "") -> list[Run]:
    experiment = client.get_experiment_by_name("movie-music")
    assert experiment is not None
    return [*client.search_runs([experiment.experiment_id], query)]


def the_run(client: MlflowClient, *artifacts: ArtifactRef | None) -> Run:
    """Of these artifacts, whatever other tests have logged of the shared store."""
    (run,) = runs(client, f"tags.artifact = '{' '.join(map(str, artifacts))}'")
    return run


def first_cell(finished_run: FinishedRun) -> tuple[ArtifactRef, ArtifactRef]:
    return finished_run.outcome.evaluations[0], finished_run.outcome.rankings[0]


def log(done: FinishedRun, where: Tracking, *, unmarked: bool = False) -> None:
    """Log the run there; ``unmarked``: the store has forgotten what is logged."""
    assert done.outcome.report is not None
    for mark in (done.store.root / "tracked").glob("*/*") if unmarked else ():
        mark.unlink()
    scores = (*done.outcome.evaluations, *done.outcome.rankings)
    track(done.store, where, scores, done.outcome.report)


def test_a_run_shows_scores_settings_and_inputs(
    finished_run: FinishedRun, client: MlflowClient
) -> None:
    store, (ref, ranking) = finished_run.store, first_cell(finished_run)
    run = the_run(client, *first_cell(finished_run))
    assert run.info.status == "FINISHED"
    assert {"task": "movie-music", "beta": "0.3", "seed": "1"}.items() <= run.data.tags.items()
    for method, metric, value in store.read_frame(ref, "scores.parquet").iter_rows():
        assert run.data.metrics[f"{metric}/{method}"] == value
    for method, relevant, metric, value in store.read_frame(
        ranking, "list_scores.parquet"
    ).iter_rows():
        named = f"liked_{metric}" if relevant == "liked" else metric
        assert run.data.metrics[f"{named}/{method}"] == value
    params = run.data.params
    assert params["split.cold_fraction"] == "0.3"
    assert params["target_model.epochs"] == params["source_model.epochs"] == "2"
    assert params["mapping.epochs"] == "2"
    assert params["rank.users"] == "10"
    assert params["source.k"] == "5"
    logged = {each.dataset.name: each.dataset.digest for each in run.inputs.dataset_inputs}
    origin = ancestors(store, ref, ranking)
    assert logged == {
        name: origin[name].digest[:MAX_DIGEST] for name in ("source", "target", "split")
    }
    assert "bias_transfer" in run.data.tags["mlflow.note.content"]


def test_the_default_experiment_is_shown_only_with_something_in_it(
    finished_run: FinishedRun, client: MlflowClient, tmp_path: Path
) -> None:
    assert [each.name for each in client.search_experiments()] == ["movie-music"]
    where = Tracking.inside(Store(tmp_path))
    used = MlflowClient(where.uri)
    kept = used.create_run("0").info.run_id
    log(finished_run, where)
    assert {each.name for each in used.search_experiments()} == {"movie-music", "Default"}
    assert used.get_run(kept).info.lifecycle_stage == "active"


def test_a_report_is_above_its_cells_and_its_pictures_are_there(
    finished_run: FinishedRun, tmp_path: Path
) -> None:
    """In a place of its own: where others log, a cell's parent is the newest report with it."""
    where, outcome = Tracking.inside(Store(tmp_path)), finished_run.outcome
    log(finished_run, where)
    client = MlflowClient(where.uri)
    report = the_run(client, outcome.report)
    for cell in zip(outcome.evaluations, outcome.rankings, strict=True):
        assert the_run(client, *cell).data.tags["mlflow.parentRunId"] == report.info.run_id
    files = {each.path for each in client.list_artifacts(report.info.run_id)}
    assert {"report.html", "scores.png", "vectors.png"} <= files


@pytest.mark.parametrize(("host", "status"), [("evil.example", 403), ("127.0.0.1", 200)])
def test_a_foreign_name_for_this_machine_is_refused(address: str, host: str, status: int) -> None:
    """Or a page of another site could read the experiments through the user's browser."""
    path = "/api/2.0/mlflow/experiments/search?max_results=1"
    with closing(HTTPConnection("127.0.0.1", urlsplit(address).port, timeout=deadline())) as site:
        site.request("GET", path, headers={"Host": f"{host}:{site.port}"})
        assert site.getresponse().status == status


@pytest.fixture(scope="module")
def address(finished_run: FinishedRun) -> Iterator[str]:
    """``metaem ui`` in a process of its own."""
    port, silent = free_port(), subprocess.DEVNULL
    command = [Path(sys.executable).with_name("metaem"), "ui", "--port", port]
    command += ["--store", finished_run.store.root]
    with ProcessTree(command, stdout=silent, stderr=silent) as ui:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(f"{url}/health") or ui.poll() is not None, "MLflow's page")
        assert ui.poll() is None
        yield url


def test_curves_have_a_point_an_epoch(finished_run: FinishedRun, client: MlflowClient) -> None:
    run = the_run(client, *first_cell(finished_run))
    for stage in ("source_model", "target_model", "mapping"):
        for metric in ("loss", "validation_rmse"):
            points = client.get_metric_history(run.info.run_id, f"{stage}/{metric}")
            assert [point.step for point in points] == [1, 2]


def test_tables_and_pictures_are_there_and_no_pickle(finished_run: FinishedRun) -> None:
    files = [path for path in (finished_run.store.root / "mlflow").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".parquet", ".png", ".md", ".html"}


def test_logging_again_changes_nothing(finished_run: FinishedRun, client: MlflowClient) -> None:
    before = sorted(run.info.run_id for run in runs(client))
    log(finished_run, Tracking.inside(finished_run.store), unmarked=True)
    assert sorted(run.info.run_id for run in runs(client)) == before


def test_a_run_left_by_a_killed_process_is_replaced(
    finished_run: FinishedRun, client: MlflowClient
) -> None:
    run = the_run(client, *first_cell(finished_run))
    client.update_run(run.info.run_id, status="RUNNING")
    log(finished_run, Tracking.inside(finished_run.store), unmarked=True)
    replaced = the_run(client, *first_cell(finished_run))
    assert replaced.info.run_id != run.info.run_id
    assert replaced.data.metrics == run.data.metrics


def test_an_unreachable_server_costs_a_warning_and_is_tried_again(
    finished_run: FinishedRun, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = Tracking("http://user:secret@127.0.0.1:9")
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            log(finished_run, nowhere)
        assert "results are complete" in caplog.text
        assert "http://user:***@127.0.0.1:9" in caplog.text
        assert "secret" not in caplog.text


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"port {port} is in use"):
            serve(Tracking(f"sqlite:///{tmp_path}/m.db"), port)


def test_a_server_of_its_own_is_not_served_again() -> None:
    with pytest.raises(ValueError, match=r"open http://:\*\*\*@mlflow"):
        serve(Tracking("http://:secret@mlflow:5000"), 5000)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server's address and its database."""
    folder = tmp_path_factory.mktemp("mlflow")
    with mlflow_server(folder) as url:
        yield url, folder / "m.db"


@pytest.mark.parametrize("manner", MANNERS)
def test_what_a_bad_server_did_not_take_is_there_once_when_it_is_good_again(
    finished_run: FinishedRun,
    real: tuple[str, Path],
    manner: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, outcome = finished_run.store, finished_run.outcome
    assert outcome.report is not None
    address, database = real
    server_side = MlflowClient(address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(round(deadline(60))))
    monkeypatch.setattr("tasks.tracking.mlflow.TIMEOUT", deadline())
    with unruly(address) as server:
        where = Tracking(server.url)
        server.be(manner, spare=12)  # in the middle of the first run
        with monkeypatch.context() as hurry, caplog.at_level(logging.WARNING):
            if manner == "hang":
                hurry.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(round(deadline(5))))
            if manner == "trickle":
                hurry.setattr("tasks.tracking.mlflow.TIMEOUT", deadline(10))
            log(finished_run, where)
        assert ("results are complete" in caplog.text) == (manner != "forget")
        assert server.requests > 12
        server.be("behave")
        log(finished_run, where)
    logged = runs(server_side)
    for each in logged:  # the next server begins with none
        server_side.delete_run(each.info.run_id)
    assert {each.info.status for each in logged} == {"FINISHED"}
    tables = ("summary.parquet", "list_summary.parquet")
    methods = {m for name in tables for m in store.read_frame(outcome.report, name)["method"]}
    cells = zip(outcome.evaluations, outcome.rankings, strict=True)
    shown = [*(f"{stars} {lists}" for stars, lists in cells), str(outcome.report)]
    expected = sorted([*shown, *(f"{outcome.report} {m}" for m in methods)])
    assert sorted(each.data.tags["artifact"] for each in logged) == expected
    repeated = "SELECT run_uuid, key, step FROM metrics GROUP BY 1, 2, 3 HAVING count(*) > 1"
    with closing(sqlite3.connect(database)) as points:
        assert points.execute(repeated).fetchall() == []


def test_a_file_that_is_no_database_is_reported_at_once(
    finished_run: FinishedRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    where = Tracking.inside(Store(tmp_path))
    (tmp_path / "mlflow.db").write_bytes(b"no database")
    with caplog.at_level(logging.WARNING):
        log(finished_run, where)
    assert "mlflow.db is no SQLite database: delete it" in caplog.text
    (tmp_path / "mlflow.db").unlink()
    log(finished_run, where)
    assert len(runs(MlflowClient(where.uri), "tags.kind != 'method'")) == 3
