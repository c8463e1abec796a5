"""Waiting for other processes, and ending them. A deadline only ends a hang: all are generous.

``TEST_SLOWNESS=5`` makes every deadline five times as long.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

SLOWNESS = float(os.environ.get("TEST_SLOWNESS", "1"))


def deadline(seconds: float = 300) -> float:
    """The longest to wait for something that takes far less, in seconds."""
    return seconds * SLOWNESS


def wait_until(condition: Callable[[], object], what: str, seconds: float = 300) -> None:
    """Look again and again; ``what`` is waited for."""
    end = time.monotonic() + deadline(seconds)
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {deadline(seconds):g} s"
        time.sleep(0.05)


def answers(url: str) -> bool:
    """Whether a server answers there with success."""
    try:
        urlopen(url, timeout=deadline(10)).close()
    except (URLError, OSError):
        return False
    return True


@contextmanager
def started(command: list[str], **options: Any) -> Iterator["subprocess.Popen[Any]"]:  # noqa: ANN401
    """A process in a group of its own, which has ended with all of its group after the block."""
    with subprocess.Popen(command, start_new_session=True, **options) as process:
        try:
            yield process
        finally:
            end_group(process.pid)


def end_group(leader: int) -> None:
    """Kill a process and those of its children that are still in its group."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
