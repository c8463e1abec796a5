"""A time limit for work that may hang."""

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def run_with_timeout(work: Callable[[], T], seconds: float) -> T:
    """Run ``work`` on a thread of its own, which is abandoned at the timeout.

    Raises:
        TimeoutError: it took longer.
        Exception: what it raised.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except Exception as error:  # of any kind: it is raised by the waiting thread
            outcome.set_exception(error)

    Thread(target=run, daemon=True).start()  # one that hangs must not keep the process
    if not wait([outcome], seconds).done:
        raise TimeoutError(f"not done within {seconds:g} s")
    return outcome.result()
