"""An MLflow server on this machine."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.federation.loopback import free_port, listens
from tasks.tracking.mlflow import QUIET


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Its address, until the block ends."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    place = [f"--backend-store-uri=sqlite:///{folder}/m.db", f"--artifacts-destination={folder}/a"]
    command = [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", "--workers=1", *place]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, f"--port={port}"],
            env=os.environ | QUIET,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while not listens(port):
            assert server.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 9)
        server.wait()
