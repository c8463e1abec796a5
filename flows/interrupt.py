"""Ctrl-C and SIGTERM end a run at once: every finished epoch and stage is on disk already."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SHOW_CURSOR = "\x1b[?25h\r\n"  # progress bars hide it


@contextmanager
def stoppable() -> Iterator[None]:
    """Leave on the first signal, without waiting for the stages that are running."""
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, _leave) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    _end_temporary_server()
    start = SHOW_CURSOR if sys.stderr.isatty() else ""
    text = f"{start}metaem: stopped; the same command goes on from the last finished epoch\n"
    os.write(2, text.encode())
    os._exit(128 + number)


def _end_temporary_server() -> None:
    """Prefect ends the server it started at a regular exit only."""
    server = sys.modules.get("prefect.server.api.server")
    if server is not None:
        for instance in server.SubprocessASGIServer._instances.values():
            if instance.server_process is not None:
                instance.server_process.kill()
