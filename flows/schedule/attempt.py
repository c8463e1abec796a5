"""One try at a scheduled run, repeated where that can help; its scores are kept in Prefect."""

import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path

from prefect import get_run_logger, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from flows.notes import notes
from flows.settings import Settings
from flows.steps import Outcome
from tasks.progress import Finished, Step, listening
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.remote import without_login

FIRST_PAUSE = 60  # seconds before a second attempt, doubled for each further one
TOLERANCE = 30.0  # seconds; a run counts as dead after two minutes without a heartbeat


class Incomplete(RuntimeError):
    """The report has to do without something."""


class WrongClock(ValueError):
    """The server counts heartbeats of a slow clock as missing, and the run as Crashed."""


def require_right_clock() -> None:
    """Raise WrongClock if the two are more than 30 s apart."""
    with get_client(sync_client=True) as client:
        date = client.hello().headers.get("date")
    if date is None:  # uvicorn sends it; a proxy may not
        return
    ahead = time.time() - parsedate_to_datetime(date).timestamp()
    if abs(ahead) > TOLERANCE:
        way = "ahead of" if ahead > 0 else "behind"
        raise WrongClock(
            f"this machine's clock is {abs(ahead):.0f} s {way} the Prefect server's: set it right"
        )


def _may_pass(task: Task[..., object], run: TaskRun, state: State[object]) -> bool:
    """Whether another attempt can help; it cannot where someone has to correct something."""
    return not isinstance(state.result(raise_on_failure=False), ValueError)


@task(
    retries=3,
    retry_delay_seconds=exponential_backoff(FIRST_PAUSE),
    retry_condition_fn=_may_pass,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def attempt(
    label: str, settings: Settings, run: Callable[[Settings], Mapping[str, Outcome]]
) -> ArtifactRef:
    """One try, which reuses what earlier ones finished and shows its scores at once.

    Returns:
        The report on all outcomes, which are by task.
    """
    require_right_clock()
    logger = get_run_logger()

    def log(event: Step | Finished) -> None:
        if isinstance(event, Finished):
            logger.info("%s %s", "reused" if event.reused else "computed", event.label)

    with listening(log):
        outcomes = run(settings)
    store = settings.open_store()
    for name, outcome in outcomes.items():
        for note in notes(store, outcome):
            logger.info("%s, %s", name, note)
    (report,) = {outcome.report for outcome in outcomes.values()}
    assert report is not None, "a full run ends in a report"
    _show(label.replace("_", "-"), store, report, settings.tracking_uri)
    missing = [line for outcome in outcomes.values() for line in outcome.missing]
    if missing:
        raise Incomplete("; ".join(f"missing: {line}" for line in missing))
    return report


def _show(label: str, store: Store, report: ArtifactRef, tracking: str | None) -> None:
    """Keep the scores, and links to the report and the experiments, in Prefect."""
    scores = store.file(report, "report.md").read_text()
    create_markdown_artifact(scores, key=label, description="Scores of cold-start users")
    page = Path(store.file(report, "report.html")).as_uri()
    create_link_artifact(page, "report", key=f"{label}-report", description="On the worker")
    if tracking is not None and tracking.startswith("http"):
        create_link_artifact(without_login(tracking), "experiments", key=f"{label}-mlflow")
