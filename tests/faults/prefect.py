"""A Prefect server, known before Prefect is imported."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.cli.main import ENVIRONMENT
from flows.federation.loopback import free_port, listens
from tests.support.waiting import ProcessTree, wait_until


@contextmanager
def prefect_server(home: Path, **variables: str) -> Iterator[tuple[str, ProcessTree]]:
    """A Prefect server of its own, and its address."""
    port = free_port()
    home.mkdir(exist_ok=True)
    environment = os.environ | ENVIRONMENT | {"PREFECT_HOME": str(home)} | variables
    environment.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--no-ui"]
    log = home / "server.log"
    with (
        log.open("wb") as sink,
        ProcessTree(command, environment, stdout=sink, stderr=sink) as server,
    ):
        wait_until(lambda: listens(port) or server.poll() is not None, "Prefect's server")
        assert server.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{port}/api", server
