"""What runs on a schedule: flows whose parameters Prefect's UI shows as a form and its API checks.

What is no parameter comes from the environment and from metaem.toml where the run is, as in any
command. Prefect keeps parameters in the clear, so none takes an address with a login.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff
from pydantic import Field, NonNegativeInt, PositiveInt

from flows import cold_start, table3
from flows.grid import Outcome
from flows.notes import notes
from flows.schedule.clock import require_right_clock
from flows.settings import BadSettings, Settings, SourceName, read_settings
from flows.table3 import Sweep, completed
from metaem_core.config.factor import Base
from metaem_core.config.transfer import Method
from tasks.progress import Finished, Step, listening
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import ArtifactSerializer
from tasks.store.urls import without_login
from tasks.tracking.server import Tracking

FIRST_PAUSE = 60  # seconds before a second attempt, doubled for each further one

Domains = Annotated[str, Field(pattern="^[a-z0-9_]+-[a-z0-9_]+$")]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Assignment = Annotated[str, Field(pattern="^[a-z0-9_.]+=[^@]*$")]
Folder = Annotated[str, Field(pattern="^/")]
Betas = Annotated[tuple[Fraction, ...], Field(min_length=1)]
Seeds = Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)]
Tasks = Annotated[tuple[Domains, ...], Field(min_length=1)]
Bases = Annotated[tuple[Base, ...], Field(min_length=1)]
Made = tuple[ArtifactRef, Mapping[str, Outcome]]  # the report, and what was run by task


class Incomplete(RuntimeError):
    """The report has to do without something."""


# with its own serializer Prefect would pickle what a failed flow raised
@flow(name="nightly", flow_run_name="nightly {task}", result_serializer=ArtifactSerializer())
def nightly(
    task: Domains = "movie-music",
    source: SourceName | None = None,
    betas: Betas | None = None,
    seeds: Seeds | None = None,
    store: Folder | None = None,
    assignments: tuple[Assignment, ...] = (),
    promote: bool = False,
) -> None:
    """MetaEM beside the trivial predictors, at every cold fraction and seed of one task.

    What is not given here is as the environment and metaem.toml have it.

    Args:
        task: Source and target domain, such as movie-music.
        source: Where ratings come from.
        betas: Shares of the shared users that are cold.
        seeds: One experiment each.
        store: Folder of all results; nothing for the one that METAEM_STORE names.
        assignments: Any setting, such as pretrain.epochs=10.
        promote: Make what it recommends with the champion in MLflow's model registry.
    """
    options = {"task": task, "source": source, "betas": betas, "seeds": seeds, "store": store}
    settings = _settings(options, assignments)
    report = attempt(f"nightly-{settings.task}", settings, _cold_start)
    if promote:
        _promote(settings, report)


@flow(name="weekly", flow_run_name="weekly table3", result_serializer=ArtifactSerializer())
def weekly(
    tasks: Tasks = ("movie-music", "book-movie", "book-music"),
    source: SourceName | None = None,
    betas: Betas | None = None,
    seeds: PositiveInt = 10,
    methods: tuple[Method, ...] | None = None,
    bases: Bases | None = None,
    store: Folder | None = None,
    assignments: tuple[Assignment, ...] = (),
) -> None:
    """All of Table 3: every task, cold fraction, method and seed.

    Args:
        tasks: Each a source and a target domain, such as movie-music.
        source: Where ratings come from.
        betas: Shares of the shared users that are cold.
        seeds: How many; 10 are 1 to 10.
        methods: Compared with MetaEM; nothing for all of them.
        bases: Base models of these methods.
        store: Folder of all results; nothing for the one that METAEM_STORE names.
        assignments: Any setting, such as workers=4.
    """
    options = {
        "source": source,
        "betas": betas,
        "seeds": tuple(range(1, seeds + 1)),
        "methods": methods,
        "bases": bases,
        "store": store,
    }
    settings = completed(_settings(options, assignments))
    sweep = Sweep.of(settings, tasks, "local", None)
    attempt("weekly-table3", settings, partial(_table3, sweep=sweep))


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
def attempt(label: str, settings: Settings, run: Callable[[Settings], Made]) -> ArtifactRef:
    """One try; what earlier ones finished is reused. Scores are told as soon as there are any.

    Returns:
        The report.
    """
    require_right_clock()
    logger = get_run_logger()

    def follow(news: Step | Finished) -> None:
        if isinstance(news, Finished):
            logger.info("%s %s", "reused" if news.reused else "computed", news.label)

    with listening(follow):
        report, outcomes = run(settings)
    store = settings.open_store()
    for name, outcome in outcomes.items():
        for note in notes(store, outcome):
            logger.info("%s, %s", name, note)
    _show(label.replace("_", "-"), store, report, settings.tracking_uri)
    missing = [line for outcome in outcomes.values() for line in outcome.missing]
    if missing:
        raise Incomplete("; ".join(f"missing: {line}" for line in missing))
    return report


def _promote(settings: Settings, report: ArtifactRef) -> None:
    """Register what this report recommends with; the next night does what fails."""
    from tasks.recommend.selected_model import winner
    from tasks.stages.recommender import recommender_of
    from tasks.tracking.registry import (  # MLflow's models cost seconds
        ALIAS,
        RegistryFailed,
        register,
    )

    store, logger = settings.open_store(), get_run_logger()
    where = Tracking.chosen(settings.tracking_uri, store)
    try:
        chosen = winner(store, settings.task, report)
        made = register(store, where, recommender_of(store, chosen), chosen)
    except (RegistryFailed, ValueError) as error:  # the scores are complete
        logger.warning("no model was registered: %s", error)
    else:
        logger.info("%s version %s is %s", made.name, made.version, ALIAS)


def _settings(options: Mapping[str, object], assignments: tuple[str, ...]) -> Settings:
    try:
        settings = read_settings(options, assignments)
    except BadSettings as error:
        raise BadSettings(without_login(str(error))) from None  # Prefect keeps what is raised
    if not settings.store.is_absolute():
        raise BadSettings(
            f"a scheduled run needs an absolute store, got {str(settings.store)!r}: set "
            "METAEM_STORE where the worker runs, or the parameter store"
        )
    return settings


def _cold_start(settings: Settings) -> Made:
    outcome = cold_start.run(settings)
    assert outcome.report is not None, "a full run ends in a report"
    return outcome.report, {settings.task: outcome}


def _table3(settings: Settings, sweep: Sweep) -> Made:
    done = table3.run(settings, sweep)
    return done.report, done.outcomes


def _show(label: str, store: Store, report: ArtifactRef, tracking: str | None) -> None:
    """Leave the scores, and the way to what tells more, in Prefect."""
    scores = store.file(report, "report.md").read_text()
    create_markdown_artifact(scores, key=label, description="Scores of cold-start users")
    page = Path(store.file(report, "report.html")).as_uri()
    create_link_artifact(page, "report", key=f"{label}-report", description="On the worker")
    if tracking is not None and tracking.startswith("http"):
        create_link_artifact(without_login(tracking), "experiments", key=f"{label}-mlflow")
