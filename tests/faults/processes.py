"""Children of this process that run something to its end, or to theirs."""

import atexit
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.waiting import deadline


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    code: int  # negative: by this signal
    seconds: float
    output: str  # on stdout and stderr

    @property
    def failure(self) -> str:
        """In words, and the end of what it printed; empty if it succeeded."""
        return f"it ended with {self.code}: {self.output[-1500:]}" if self.code else ""


@dataclass
class Child:
    """A forked process: what is imported here need not be imported there."""

    pid: int
    log: Path
    began: float

    @classmethod
    def start(cls, work: Callable[[], object], log: Path) -> "Child":
        """Let a child do ``work``, with stdout and stderr in ``log``."""
        sys.stdout.flush()
        sys.stderr.flush()
        began = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _become(work, log)
        return cls(pid, log, began)

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def wait(self) -> Ended:
        """Its end; one that does not end is killed and so has failed."""
        killer = threading.Timer(deadline(600), self.kill)
        killer.start()
        try:
            _, status = os.waitpid(self.pid, 0)
        finally:
            killer.cancel()
        seconds = time.monotonic() - self.began
        output = self.log.read_text(errors="replace")
        return Ended(os.waitstatus_to_exitcode(status), seconds, output)


def run(work: Callable[[], object], log: Path) -> Ended:
    """A child from its start to its end."""
    return Child.start(work, log).wait()


def _become(work: Callable[[], object], log: Path) -> None:
    os.setsid()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    code = 1
    try:
        work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # as the interpreter does at its end
        atexit._run_exitfuncs()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
