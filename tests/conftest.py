"""What tests of the DAG share: quiet settings, one Prefect server, an empty store each."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ |= {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OMP_NUM_THREADS": "1",
}

from tasks.artifacts import Store
from tasks.manifests import Provenance


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store, as a stage named "made" sees it."""
    return Store(tmp_path / "store", Provenance("made"))


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A temporary Prefect server and database for every flow of the session."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=60):
        yield
