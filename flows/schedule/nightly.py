"""Every night: one task, at every cold fraction and seed."""

from prefect import flow, get_run_logger

from flows import experiment
from flows.schedule.attempt import attempt
from flows.schedule.parameters import Assignment, Betas, Domains, Folder, Seeds, scheduled_settings
from flows.settings import Settings, SourceName
from flows.steps import Outcome
from tasks.store.artifacts import ArtifactRef
from tasks.store.stage import ArtifactSerializer
from tasks.tracking.server import Tracking


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

    What is not given comes from the environment and metaem.toml.

    Args:
        task: Source and target domain, such as movie-music.
        source: Where ratings come from.
        betas: Shares of the shared users that are cold.
        seeds: One experiment each.
        store: Folder of all results; if empty, the one in METAEM_STORE.
        assignments: Any setting, such as pretrain.epochs=10.
        promote: Register the report's recommender as champion in MLflow's model registry.
    """
    settings = scheduled_settings(
        assignments, task=task, source=source, betas=betas, seeds=seeds, store=store
    )
    report = attempt(f"nightly-{settings.task}", settings, _cold_start)
    if promote:
        _promote(settings, report)


def _cold_start(settings: Settings) -> dict[str, Outcome]:
    return {settings.task: experiment.run(settings)}


def _promote(settings: Settings, report: ArtifactRef) -> None:
    """Register what this report recommends with; the next night does what fails."""
    # MLflow's models cost seconds
    from tasks.recommend.selected_model import select_model
    from tasks.stages.recommender import recommender_of
    from tasks.tracking.registry import ALIAS, RegistryFailed, register

    store, logger = settings.open_store(), get_run_logger()
    where = Tracking.chosen(settings.tracking_uri, store)
    try:
        selected = select_model(store, settings.task, report)
        version = register(store, where, recommender_of(store, selected), selected)
    except (RegistryFailed, ValueError) as error:  # the scores are complete
        logger.warning("no model was registered: %s", error)
    else:
        logger.info("%s version %s is %s", version.name, version.version, ALIAS)
