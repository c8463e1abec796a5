"""``metaem register``: the recommender in MLflow's model registry."""

from typing import TYPE_CHECKING

import typer

from flows.cli.options import STORE, command

if TYPE_CHECKING:
    from flows.settings import Settings
    from tasks.store.artifacts import Store


@command("task", *STORE)
def register(settings: "Settings", store: "Store", task: str | None) -> None:
    """Make what `recommend` recommends with the champion of MLflow's model registry."""
    from tasks.recommend.selected_model import select_model
    from tasks.stages.recommender import recommender_of
    from tasks.tracking.registry import ALIAS
    from tasks.tracking.registry import register as register_version
    from tasks.tracking.server import Tracking

    selected = select_model(store, task)
    where = Tracking.chosen(settings.tracking_uri, store)
    version = register_version(store, where, recommender_of(store, selected), selected)
    cell = f"beta {selected.cell['beta']:g}, seed {selected.cell['seed']}"
    state = "now" if version.new else "already"
    scores = {
        "NDCG of validation users": selected.validation_ndcg,
        "RMSE": selected.validation_rmse,
    }
    known = [f"{name} {score:.4f}" for name, score in scores.items() if score is not None]
    about = ", ".join([cell, *known])
    typer.echo(f"{version.name} version {version.version} is {state} {ALIAS} in {where}: {about}")
    typer.echo(f"load it:  mlflow.set_tracking_uri('{where}')")
    typer.echo(f"          mlflow.pyfunc.load_model('models:/{version.name}@{ALIAS}')")
