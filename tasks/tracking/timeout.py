"""Waiting for something that may hang."""

from collections.abc import Iterator
from queue import Empty, SimpleQueue
from threading import Event, Thread


def patiently(steps: Iterator[None], seconds: float) -> None:
    """Take the steps on a thread; TimeoutError once one is not done within ``seconds``."""
    news: SimpleQueue[Exception | bool] = SimpleQueue()
    given_up = Event()

    def take() -> None:
        try:
            for _ in steps:
                if given_up.is_set():
                    return
                news.put(True)
            news.put(False)
        except Exception as error:  # of any kind: it is raised where it is waited for
            news.put(error)

    Thread(target=take, daemon=True).start()  # one that hangs must not keep the process
    goes_on: Exception | bool = True
    while goes_on:
        try:
            goes_on = news.get(timeout=seconds)
        except Empty:
            given_up.set()
            raise TimeoutError(f"not done within {seconds:g} s") from None
        if isinstance(goes_on, Exception):
            raise goes_on
