"""All of Table 3: every task, cold fraction, seed and method in one grid."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast, get_args

from prefect import flow

from flows.checks import check
from flows.grid import Grid
from flows.runtime.interrupt import leave_no_server, stoppable
from flows.runtime.runners import Runner, task_runner
from flows.runtime.runs import Run
from flows.settings import BadSettings, Settings
from flows.steps import STEPS, Outcome, report_on
from metaem_core.config.transfer import Method
from tasks.store.artifacts import ArtifactRef
from tasks.store.stage import ArtifactSerializer
from tasks.tracking.mlflow import track
from tasks.tracking.server import Tracking


@dataclass(frozen=True)
class Sweep:
    """Which tasks, and what runs their stages."""

    tasks: tuple[str, ...]
    runner: Runner = "local"
    address: str | None = None  # of a cluster's scheduler

    @classmethod
    def of(
        cls, settings: Settings, tasks: Iterable[str], runner: str, address: str | None
    ) -> "Sweep":
        """From words; each task must be one that the settings could have."""
        named = tuple(dict.fromkeys(task.strip() for task in tasks))
        for task in named:
            check(settings.of_task(task))
        if runner not in get_args(Runner):
            raise BadSettings(f"no runner {runner!r}: use one of {', '.join(get_args(Runner))}")
        return cls(named, cast(Runner, runner), address)


@dataclass(frozen=True)
class Reported:
    """What a sweep left in the store."""

    report: ArtifactRef
    outcomes: dict[str, Outcome]  # by task


# with its own serializer Prefect would pickle what a failed flow raised
@flow(
    name="table3",
    flow_run_name="table3 {tasks}",
    validate_parameters=False,
    result_serializer=ArtifactSerializer(),
)
def table3(settings: Settings, tasks: tuple[str, ...]) -> Reported:
    """Evaluate every cell of every task and report on all of them together."""
    store = settings.open_store()
    submitted: dict[str, Run] = {}
    grids = [Grid(settings.of_task(task), store, frozenset(), submitted) for task in tasks]
    with stoppable():  # Prefect's own handlers would wait for running stages
        for name, step in STEPS.items():
            if name != "report":
                for grid in grids:
                    step(grid)
        together = report_on(grids, "table3")
        outcomes = {grid.settings.task: Outcome.of(grid) for grid in grids}
    where = Tracking.chosen(settings.tracking_uri, store)
    for outcome in outcomes.values():
        if outcome.evaluations and not track(store, where, outcome.evaluations, together.result()):
            break  # it would be waited for once a task
    return Reported(together.result(), outcomes)


def completed(settings: Settings) -> Settings:
    """Every method and seeds 1 to 10, where neither an option, a variable nor a file says else."""
    chosen = {"methods": get_args(Method), "seeds": tuple(range(1, 11))}
    missing = {n: value for n, value in chosen.items() if n not in settings.model_fields_set}
    return settings.model_copy(update=missing)


def run(settings: Settings, sweep: Sweep) -> Reported:
    """:func:`table3` on this machine's processes or on a cluster."""
    leave_no_server()
    workers = task_runner(sweep.runner, settings.workers, sweep.address)
    return table3.with_options(task_runner=workers)(settings, sweep.tasks)
