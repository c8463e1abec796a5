"""Waiting for other processes, and ending them. A deadline only ends a hang: all are generous.

``TEST_SLOWNESS=5`` makes every deadline five times as long.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen
from uuid import uuid4

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


def marked(variable: str) -> list[int]:
    """The processes that have ``NAME=value`` in their environment."""
    running = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended, or is not ours
            if variable.encode() in environment.read_bytes().split(b"\0"):
                running.append(int(environment.parent.name))
    return running


class ProcessTree(subprocess.Popen[Any]):
    """A process whose block ends it and all that it started, whatever their sessions.

    They are known by a mark in the environment, which they inherit.
    """

    def __init__(
        self,
        command: Sequence[object],
        env: Mapping[str, str] = os.environ,
        **options: Any,  # noqa: ANN401
    ) -> None:
        mark = uuid4().hex
        self.mark = f"TEST_PROCESS_TREE={mark}"
        super().__init__([*map(str, command)], env={**env, "TEST_PROCESS_TREE": mark}, **options)

    def members(self) -> list[int]:
        """Those that run."""
        return marked(self.mark)

    def __exit__(self, *error: Any) -> None:  # noqa: ANN401
        while members := self.members():
            for pid in members:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.poll()
        super().__exit__(*error)


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
