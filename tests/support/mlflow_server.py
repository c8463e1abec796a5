"""An MLflow server on this machine."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.federation.loopback import free_port, listens
from tasks.tracking.server import QUIET
from tests.support.waiting import ProcessTree, wait_until


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Its address, until the block ends."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    place = [f"--backend-store-uri=sqlite:///{folder}/m.db", f"--artifacts-destination={folder}/a"]
    command = [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", "--workers=1", *place]
    command.append(f"--port={port}")
    log = folder / "log"
    with (
        log.open("wb") as sink,
        ProcessTree(command, os.environ | QUIET, stdout=sink, stderr=sink) as server,
    ):
        wait_until(lambda: listens(port) or server.poll() is not None, "MLflow's server")
        assert server.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{port}"
