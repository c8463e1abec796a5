"""All of Table 3: every task, cold fraction, seed and method in one grid."""

from collections.abc import Iterable
from typing import get_args

from prefect import flow

from flows.checks import check
from flows.grid import Grid
from flows.runtime.interrupt import leave_no_server, stoppable
from flows.runtime.runners import task_runner
from flows.runtime.runs import Run
from flows.settings import Settings
from flows.steps import STEPS, Outcome, report_on, take
from metaem_core.config.transfer import Method
from tasks.store.stage import ArtifactSerializer
from tasks.tracking.mlflow import track
from tasks.tracking.server import Tracking


# with its own serializer Prefect would pickle what a failed flow raised
@flow(
    name="table3",
    flow_run_name="table3 {tasks}",
    validate_parameters=False,
    result_serializer=ArtifactSerializer(),
)
def table3(settings: Settings, tasks: tuple[str, ...]) -> dict[str, Outcome]:
    """Evaluate every cell of every task; the outcomes, by task, have one report together."""
    store = settings.open_store()
    submitted: dict[str, Run] = {}
    grids = [Grid(settings.of_task(task), store, frozenset(), submitted) for task in tasks]
    with stoppable():  # Prefect's own handlers would wait for running stages
        for name in STEPS:
            if name != "report":
                for grid in grids:
                    take(name, grid)
        report = report_on(grids, "table3")
        outcomes = {grid.settings.task: Outcome.of(grid) for grid in grids}
    where = Tracking.chosen(settings.tracking_uri, store)
    for outcome in outcomes.values():
        scores = (*outcome.evaluations, *outcome.rankings)
        if scores and not track(store, where, scores, report.result()):
            break  # it would be waited for once a task
    return outcomes


def completed(settings: Settings) -> Settings:
    """Every method and seeds 1 to 10, where neither an option, a variable nor a file says else."""
    chosen = {"methods": get_args(Method), "seeds": tuple(range(1, 11))}
    missing = {n: value for n, value in chosen.items() if n not in settings.model_fields_set}
    return settings.model_copy(update=missing)


def run(
    settings: Settings, tasks: Iterable[str], runner: str = "local", address: str | None = None
) -> dict[str, Outcome]:
    """:func:`table3` on this machine's processes, or on the cluster at ``address``."""
    names = tuple(dict.fromkeys(task.strip() for task in tasks))
    for task in names:
        check(settings.of_task(task))
    workers = task_runner(runner, settings.workers, address)
    leave_no_server()
    return table3.with_options(task_runner=workers)(settings, names)
