"""What tests of the DAG share: quiet settings, one Prefect server, an empty store each."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

os.environ |= {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OMP_NUM_THREADS": "1",
}

from tasks.progress import Finished, Step, listening
from tasks.store.artifacts import Store
from tasks.store.manifests import Provenance

if TYPE_CHECKING:
    from flows.experiment import Outcome
    from flows.settings import Settings

SMALL = [
    "synthetic.config.growth=0.2",
    "pretrain.epochs=2",
    "mapping.epochs=2",
    "ranking_users=10",
]


def pytest_configure(config: pytest.Config) -> None:
    """Excuse what mlflow, prefect and distributed do, and a machine that is busy."""
    settings.register_profile("unhurried", deadline=None)
    settings.load_profile("unhurried")
    config.addinivalue_line("filterwarnings", "ignore::sqlalchemy.exc.SADeprecationWarning")
    # drawn by the threads of prefect and distributed while hypothesis draws, not by a strategy
    config.addinivalue_line("filterwarnings", "ignore:Do not use the `random` module inside")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests first, so that no worker ends with one."""
    items.sort(key=lambda item: item.get_closest_marker("night") is None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store, as a stage named "made" sees it."""
    return Store(tmp_path / "store", Provenance("made"))


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A temporary Prefect server and database for every flow of the session."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=240):
        yield


@dataclass(frozen=True)
class FinishedRun:
    """A small complete run: its settings, store, artifacts and what was said meanwhile."""

    settings: "Settings"
    store: Store
    outcome: "Outcome"
    news: list[Step | Finished]


@pytest.fixture(scope="session")
def finished_run(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """The embedded default, shrunk, at two cold fractions."""
    from flows.experiment import run
    from flows.settings import read_settings

    folder = tmp_path_factory.mktemp("finished") / "store"
    options = {"store": folder, "betas": "0.3,0.6", "config": None}
    settings = read_settings(options, SMALL)
    news: list[Step | Finished] = []
    with listening(news.append):
        outcome = run(settings)
    return FinishedRun(settings, Store(folder), outcome, news)
