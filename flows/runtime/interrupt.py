"""Ctrl-C and SIGTERM end a run at once: every finished epoch and stage is on disk already."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from prefect.settings import PREFECT_API_URL

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
    start = SHOW_CURSOR if sys.stderr.isatty() else ""
    text = f"{start}metaem: stopped; the same command goes on from the last finished epoch\n"
    os.write(2, text.encode())
    os._exit(128 + number)


def leave_no_server() -> None:
    """Make Prefect's temporary server end with this process, however that ends."""
    if not PREFECT_API_URL.value():  # importing servers takes seconds
        from flows.runtime.temporary_server import TemporaryServer

        TemporaryServer()
