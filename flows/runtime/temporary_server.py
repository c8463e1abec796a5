"""Prefect's temporary server, which must not outlive the process that it was started for."""

import subprocess
from typing import Any

from prefect.server.api.server import SubprocessASGIServer


class TemporaryServer(SubprocessASGIServer):
    """Ends with this process, after kill -9 too. Prefect starts the first instance that is made."""

    watcher: "subprocess.Popen[bytes] | None" = None

    def _run_uvicorn_command(self) -> "subprocess.Popen[Any]":
        self._unwatch()
        server = super()._run_uvicorn_command()
        # the other end of the watcher's input is ours: it closes when we end, however we do
        self.watcher = subprocess.Popen(
            ["sh", "-c", f"read line || kill -9 {server.pid}"],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us
        )
        return server

    def stop(self) -> None:
        """End the server, and with it the need to watch it."""
        super().stop()
        self._unwatch()

    def _unwatch(self) -> None:
        if self.watcher is not None:
            self.watcher.communicate(b"over\n")
            self.watcher = None
