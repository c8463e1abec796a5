"""What a terminal shows: results on stdout, progress on stderr."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tasks.progress import Finished, Step, listening


@cache
def stdout() -> Console:
    """The console of results."""
    return Console()


def say(line: str, style: str | None = None) -> None:
    """A line of results as it is, however long."""
    stdout().print(line, style=style, soft_wrap=True, highlight=False, markup=False)


@contextmanager
def progress() -> Iterator[None]:
    """Bars for running stages, a line for every finished one, and an end at the first signal."""
    from flows.runtime.interrupt import stoppable  # Prefect costs seconds

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    display = Progress(*columns, console=Console(stderr=True), transient=True)
    with stoppable(), display, listening(_Bars(display).show):
        yield


class _Bars:
    """A bar per stage run; steps arrive from several threads."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.bars, self.lock = progress, dict[str, TaskID](), Lock()

    def show(self, event: Step | Finished) -> None:
        with self.lock:
            if isinstance(event, Finished):
                self._end(event)
            else:
                self._advance(event)

    def _advance(self, step: Step) -> None:
        if step.label not in self.bars:
            self.bars[step.label] = self.progress.add_task(step.label, total=step.total, note="")
        note = f"{_amount(step)}  {step.note}"
        self.progress.update(
            self.bars[step.label], completed=step.done, total=step.total, note=note
        )

    def _end(self, run: Finished) -> None:
        if run.label in self.bars:
            self.progress.remove_task(self.bars.pop(run.label))
        how = "reused  " if run.reused else "computed"
        self.progress.console.print(f"{how} {run.label}", highlight=False)


def _amount(step: Step) -> str:
    if step.unit == "byte":
        total = f"/{step.total / 1e6:.0f}" if step.total else ""
        return f"{step.done / 1e6:.0f}{total} MB"
    total = f"/{step.total:.0f}" if step.total else ""
    return f"{step.unit} {step.done:.0f}{total}"
