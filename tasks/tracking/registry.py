"""Recommenders in MLflow's model registry."""

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import data_contracts
import metaem_core
import tasks
from tasks.recommend.selected_model import SelectedModel
from tasks.store.artifacts import ArtifactRef, Store
from tasks.tracking.mlflow import TAG
from tasks.tracking.server import Tracking, open_experiment, quieten
from tasks.tracking.timeout import run_with_timeout

if TYPE_CHECKING:  # mlflow costs seconds
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

ALIAS = "champion"
TIMEOUT = 300.0  # seconds for the registry to take a model
CODE = (metaem_core, data_contracts, tasks)  # what pyfunc.py imports
LIBRARIES = ("mlflow", "torch", "numpy", "polars", "pyarrow", "dataframely", "safetensors")


class RegistryFailed(RuntimeError):
    """MLflow could not register a model."""


class Registered(NamedTuple):
    """A version of a registered model."""

    name: str
    version: str
    new: bool  # whether it was not the champion before


def register(
    store: Store, tracking: Tracking, ref: ArtifactRef, model: SelectedModel
) -> Registered:
    """Make a recommender the champion of its task in MLflow's registry, unless it is.

    Raises:
        RegistryFailed: MLflow did not answer, or refused.
    """
    store.verify(ref)
    quieten()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return run_with_timeout(lambda: _registered(tracking, ref, model, store), TIMEOUT)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise RegistryFailed(
            f"not registered with MLflow at {tracking}: {tracking.reason(error)}"
        ) from error


def _registered(
    tracking: Tracking, ref: ArtifactRef, model: SelectedModel, store: Store
) -> Registered:
    client, experiment = open_experiment(tracking, model.cell["task"])
    name = f"metaem-{model.cell['task']}"
    if (champion := _champion(client, name, ref)) is not None:
        return Registered(name, champion, new=False)
    # MLflow warns of its own types, and of an example, which would be a user's
    with warnings.catch_warnings(action="ignore", category=UserWarning), _copy(store, ref) as copy:
        number = _new_version(tracking, experiment, name, ref, copy)
    tags = {TAG: str(ref)}
    for measure in ("validation_ndcg", "validation_rmse"):
        if (score := getattr(model, measure)) is not None:
            tags[measure] = f"{score:.4f}"
    tags |= {key: str(value) for key, value in model.cell.items()}
    for key, value in tags.items():
        client.set_model_version_tag(name, number, key, value)
    client.set_registered_model_alias(name, ALIAS, number)
    return Registered(name, number, new=True)


def _new_version(
    tracking: Tracking, experiment: str, name: str, ref: ArtifactRef, store: Path
) -> str:
    """The number of a new version, of the only artifact in ``store``."""
    import mlflow.pyfunc

    mlflow.set_tracking_uri(tracking.uri)
    with mlflow.start_run(None, experiment, "recommender", tags={"kind": "recommender"}):
        logged = mlflow.pyfunc.log_model(
            name="recommender",
            python_model=str(Path(__file__).with_name("pyfunc.py")),
            code_paths=[str(Path(package.__path__[0])) for package in CODE],
            artifacts={"store": str(store)},
            signature=_signature(),
            pip_requirements=[
                f"{library}=={version(library).partition('+')[0]}" for library in LIBRARIES
            ],
            registered_model_name=name,
            tags={TAG: str(ref)},
        )
    return str(logged.registered_model_version)


def _champion(client: "MlflowClient", name: str, ref: ArtifactRef) -> str | None:
    """The champion's version, if it is this recommender."""
    from mlflow.exceptions import MlflowException

    with suppress(MlflowException):
        champion = client.get_model_version_by_alias(name, ALIAS)
        return str(champion.version) if champion.tags.get(TAG) == str(ref) else None
    return None


@contextmanager
def _copy(store: Store, ref: ArtifactRef) -> Iterator[Path]:
    """A store of this one artifact."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Store(Path(folder) / "store")
        shutil.copytree(store.folder(ref), copy.folder(ref))
        yield copy.root


def _signature() -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    def columns(*optional: str, **types: str) -> Schema:
        return Schema(
            [ColSpec(kind, name, required=name not in optional) for name, kind in types.items()]
        )

    numbers = {"score": "float", "prediction": "float"}
    history = columns("rating", user_id="string", item_id="string", rating="double")
    best = columns(*numbers, user_id="string", rank="long", item_id="string", **numbers)
    options = {"top": ("long", 10), "why": ("boolean", False), "by": ("string", "choice")}
    params = ParamSchema([ParamSpec(name, *option) for name, option in options.items()])
    return ModelSignature(history, best, params)
