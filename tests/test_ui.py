"""A finished run is found in MLflow's own pages, by a real browser."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from mlflow import MlflowClient
from page import Page, has

from flows.federation.loopback import free_port
from tests.conftest import FinishedRun
from tests.waiting import ProcessTree, answers, deadline, wait_until


@pytest.fixture(scope="module")
def address(finished_run: FinishedRun) -> Iterator[str]:
    """``metaem ui`` in a process of its own."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("metaem")), "ui", "--port", str(port)]
    command += ["--store", str(finished_run.store.root)]
    quiet = subprocess.DEVNULL
    with ProcessTree(command, stdout=quiet, stderr=quiet) as ui:
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(f"{address}/health") or ui.poll() is not None, "its page")
        assert ui.poll() is None
        yield address


@pytest.fixture(scope="module")
def runs(address: str) -> dict[str, str]:
    """Addresses of the runs' pages by their names."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("movie-music")
    assert experiment is not None
    place = f"{address}/#/experiments/{experiment.experiment_id}/runs"
    found = client.search_runs([experiment.experiment_id])
    return {"": place} | {run.info.run_name: f"{place}/{run.info.run_id}" for run in found}


def test_a_report_is_on_top_of_its_cells(page: Page, runs: dict[str, str]) -> None:
    page.open(runs[""])
    page.wait(has("bias_transfer_fitted"))
    page.wait(has("report"))
    assert page.wait(f"[{has('beta 0.3, seed 1')}]") == [False]  # folded up below it


def test_a_cells_curves_are_drawn(page: Page, runs: dict[str, str]) -> None:
    page.open(f"{runs['beta 0.3, seed 1']}/model-metrics")
    page.wait(has("source_model"))
    down = "[...document.querySelectorAll('div')].forEach(each => each.scrollTop += 300)"
    drawn = "document.querySelectorAll('.js-plotly-plot .scatterlayer .trace').length"
    page.wait(f"({down}, {drawn})")
    assert page.errors == []


def test_a_cell_tells_scores_and_inputs(page: Page, runs: dict[str, str]) -> None:
    page.open(runs["beta 0.6, seed 1"])
    page.wait(has("rmse/bias_transfer"))
    page.wait(has("split"))


def test_the_reports_pictures_are_shown(page: Page, runs: dict[str, str]) -> None:
    page.open(f"{runs['report']}/artifacts/scores.png")
    page.wait("[...document.images].some(image => image.naturalWidth > 300)")


def test_methods_are_compared_in_one_chart(page: Page, runs: dict[str, str]) -> None:
    search = "tags.kind%20%3D%20%27method%27"
    page.open(f"{runs['']}?searchFilter={search}&compareRunsMode=CHART")
    page.wait(has("bias_transfer_fitted"))
    page.wait("document.querySelectorAll('.js-plotly-plot .point').length > 6")


@pytest.mark.parametrize(("host", "status"), [("evil.example", 403), ("127.0.0.1", 200)])
def test_a_foreign_name_for_this_machine_is_refused(address: str, host: str, status: int) -> None:
    """Or a page of another site could read the experiments through the user's browser."""
    path = "/api/2.0/mlflow/experiments/search?max_results=1"
    with closing(
        HTTPConnection("127.0.0.1", urlsplit(address).port, timeout=deadline())
    ) as connection:
        connection.request("GET", path, headers={"Host": f"{host}:{connection.port}"})
        assert connection.getresponse().status == status
