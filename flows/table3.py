"""All of Table 3: every task, cold fraction, seed and method in one grid."""

from dataclasses import dataclass
from typing import cast, get_args

from prefect import flow

from flows.checks import check
from flows.grid import STEPS, Grid, Result, reported
from flows.interrupt import leave_no_server, stoppable
from flows.runners import Runner, task_runner
from flows.settings import BadSettings, Settings
from tasks.artifacts import ArtifactRef
from tasks.caching import ArtifactSerializer
from tasks.tracking import Tracking, track


@dataclass(frozen=True)
class Sweep:
    """Which tasks, and what runs their stages."""

    tasks: tuple[str, ...]
    runner: Runner = "local"
    address: str | None = None  # of a cluster's scheduler

    @classmethod
    def of(cls, settings: Settings, tasks: str, runner: str, address: str | None) -> "Sweep":
        """From the command line's words; each task must be one that the settings could have."""
        named = tuple(dict.fromkeys(task.strip() for task in tasks.split(",")))
        for task in named:
            check(_of_task(settings, task))
        if runner not in get_args(Runner):
            raise BadSettings(f"no runner {runner!r}: use one of {', '.join(get_args(Runner))}")
        return cls(named, cast(Runner, runner), address)


# with its own serializer Prefect would pickle what a failed flow raised
@flow(
    name="table3",
    flow_run_name="table3 {tasks}",
    validate_parameters=False,
    result_serializer=ArtifactSerializer(),
)
def table3(settings: Settings, tasks: tuple[str, ...]) -> ArtifactRef:
    """Evaluate every cell of every task and report on all of them together."""
    store = settings.open_store()
    submitted: dict[str, Result] = {}
    grids = [Grid(_of_task(settings, task), store, frozenset(), submitted) for task in tasks]
    for name, step in STEPS.items():
        if name != "report":
            for grid in grids:
                step(grid)
    together = reported(grids, "table3")
    with stoppable():  # Prefect's own handlers would wait for running stages
        for result in submitted.values():
            result.result()
    where = Tracking.chosen(settings.tracking_uri, store)
    for grid in grids:
        refs = [result.result() for result in grid.evaluations.values()]
        track(store, where, refs, together.result())
    return together.result()


def _of_task(settings: Settings, task: str) -> Settings:
    """The same settings for another task; the settings file has been read already."""
    chosen = {name: value for name, value in settings if name != "config"}
    return Settings(**{**chosen, "task": task})


def run(settings: Settings, sweep: Sweep) -> ArtifactRef:
    """:func:`table3` on this machine's processes or on a cluster."""
    leave_no_server()
    workers = task_runner(sweep.runner, settings.workers, sweep.address)
    return table3.with_options(task_runner=workers)(settings, sweep.tasks)
