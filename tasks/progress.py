"""The progress of long work, for whoever runs a stage and listens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """A stage has come one step further."""

    label: str  # which stage run
    done: float
    total: float | None  # unknown for a download without a length
    unit: str  # "epoch", "byte"
    note: str  # such as the loss


@dataclass(frozen=True)
class Finished:
    """A stage run is over; its result was computed, or reused from an earlier run."""

    label: str
    reused: bool


Listener = Callable[[Step | Finished], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
_label: ContextVar[str] = ContextVar("label", default="")


def advance(done: float, total: float | None, unit: str = "epoch", note: str = "") -> None:
    """Tell the listener, if there is one, how far the running stage has come."""
    notify(Step(_label.get(), done, total, unit, note))


def finished(label: str, reused: bool) -> None:
    """Tell the listener, if there is one, that a stage run is over."""
    notify(Finished(label, reused))


def notify(event: Step | Finished) -> None:
    """Call the listener with the event, if there is one."""
    listener = _listener.get()
    if listener is not None:
        listener(event)


def listen(listener: Listener) -> None:
    """Hear of every step of the stages that this thread runs from now on."""
    _listener.set(listener)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Hear of every step of the stages run inside the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def labelled(label: str) -> Iterator[None]:
    """Give the steps inside the block their stage run's name."""
    token = _label.set(label)
    try:
        yield
    finally:
        _label.reset(token)
