"""A time limit for steps that may hang."""

from collections.abc import Iterator
from queue import Empty, SimpleQueue
from threading import Event, Thread


def run_with_timeout(steps: Iterator[None], seconds: float) -> None:
    """Run the steps on a thread.

    Args:
        seconds: for each step.

    Raises:
        TimeoutError: a step took longer.
        Exception: what a step raised.
    """
    progress: SimpleQueue[Exception | bool] = SimpleQueue()  # whether more steps follow
    abandoned = Event()

    def run() -> None:
        try:
            for _ in steps:
                if abandoned.is_set():
                    return
                progress.put(True)
            progress.put(False)
        except Exception as error:  # of any kind: it is raised by the waiting thread
            progress.put(error)

    Thread(target=run, daemon=True).start()  # one that hangs must not keep the process
    more: Exception | bool = True
    while more:
        try:
            more = progress.get(timeout=seconds)
        except Empty:
            abandoned.set()
            raise TimeoutError(f"not done within {seconds:g} s") from None
        if isinstance(more, Exception):
            raise more
