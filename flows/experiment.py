"""The whole experiment: raw ratings in, scores of every method for cold-start users out."""

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.checks import check
from flows.grid import Grid
from flows.runtime.interrupt import leave_no_server, stoppable
from flows.settings import Settings
from flows.steps import STEPS, Outcome, take
from tasks.store.artifacts import ArtifactRef
from tasks.store.stage import ArtifactSerializer
from tasks.tracking.mlflow import track
from tasks.tracking.server import Tracking


# with its own serializer Prefect would pickle what a failed flow raised
@flow(
    name="cold-start",
    flow_run_name="{settings.task}",
    validate_parameters=False,
    result_serializer=ArtifactSerializer(),
)
def cold_start(
    settings: Settings, refresh: frozenset[str] = frozenset(), until: str = "report"
) -> Outcome:
    """Run every stage up to ``until``, recomputing those in ``refresh`` and what changed."""
    store = settings.open_store()
    grid = Grid(settings, store, refresh)
    with stoppable():  # Prefect's own handlers would wait for running stages
        for name in STEPS:
            take(name, grid)
            if name == until:
                break
        outcome = Outcome.of(grid)
    if outcome.report is not None:
        where = Tracking.chosen(settings.tracking_uri, store)
        track(store, where, (*outcome.evaluations, *outcome.rankings), outcome.report)
    return outcome


def run(
    settings: Settings, refresh: frozenset[str] = frozenset(), until: str = "report"
) -> Outcome:
    """:func:`cold_start` with as many stages at once as the settings allow."""
    check(settings, until, *refresh)
    leave_no_server()
    runner: ThreadPoolTaskRunner[ArtifactRef] = ThreadPoolTaskRunner(max_workers=settings.workers)
    bound = cold_start.with_options(task_runner=runner)  # type: ignore[arg-type]  # invariant
    return bound(settings, refresh, until)
