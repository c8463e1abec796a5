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
from tasks.recommend.selected_model import Winner
from tasks.store.artifacts import ArtifactRef, Store
from tasks.tracking.mlflow import TAG, Tracking, open_experiment, quieten
from tasks.tracking.timeout import patiently

if TYPE_CHECKING:  # mlflow costs seconds
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

ALIAS = "champion"
PATIENCE = 300.0  # seconds for the registry to take a model
CODE = (metaem_core, data_contracts, tasks)  # what pyfunc.py imports
LIBRARIES = ("mlflow", "torch", "numpy", "polars", "pyarrow", "dataframely", "safetensors")


class RegistryFailed(RuntimeError):
    """MLflow could not register a model."""


class Registered(NamedTuple):
    """A version of a registered model; ``new``: it was not the champion before."""

    name: str
    version: str
    new: bool


def register(store: Store, where: Tracking, ref: ArtifactRef, chosen: Winner) -> Registered:
    """Make a recommender the champion of its task in MLflow's registry; done once.

    Raises:
        RegistryFailed: it did not answer, or refused.
    """
    store.verify(ref)
    quieten()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    made: list[Registered] = []

    def step() -> Iterator[None]:
        made.append(_registered(where, ref, chosen, store))
        yield

    try:
        patiently(step(), PATIENCE)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        said = where.without_password(str(error).splitlines()[0])[:200]
        raise RegistryFailed(f"not registered with MLflow at {where}: {said}") from error
    return made[0]


def _registered(where: Tracking, ref: ArtifactRef, chosen: Winner, store: Store) -> Registered:
    client, experiment = open_experiment(where, chosen.cell["task"])
    name = f"metaem-{chosen.cell['task']}"
    if (champion := _champion(client, name, ref)) is not None:
        return Registered(name, champion, new=False)
    # it warns of types of its own, and of an example that is no one's to give
    with warnings.catch_warnings(action="ignore", category=UserWarning), _alone(store, ref) as only:
        number = _logged(where, experiment, name, ref, only)
    told = {TAG: str(ref), "validation_rmse": f"{chosen.validation_rmse:.4f}"}
    told |= {key: str(value) for key, value in chosen.cell.items()}
    for key, value in told.items():
        client.set_model_version_tag(name, number, key, value)
    client.set_registered_model_alias(name, ALIAS, number)
    return Registered(name, number, new=True)


def _logged(where: Tracking, experiment: str, name: str, ref: ArtifactRef, only: Path) -> str:
    """The number of a new version, of the recommender that is alone in the store ``only``."""
    import mlflow.pyfunc

    mlflow.set_tracking_uri(where.uri)
    with mlflow.start_run(None, experiment, "recommender", tags={"kind": "recommender"}):
        made = mlflow.pyfunc.log_model(
            name="recommender",
            python_model=str(Path(__file__).with_name("pyfunc.py")),
            code_paths=[str(Path(package.__path__[0])) for package in CODE],
            artifacts={"store": str(only)},
            signature=_signature(),
            pip_requirements=[
                f"{library}=={version(library).partition('+')[0]}" for library in LIBRARIES
            ],
            registered_model_name=name,
            tags={TAG: str(ref)},
        )
    return str(made.registered_model_version)


def _champion(client: "MlflowClient", name: str, ref: ArtifactRef) -> str | None:
    """The champion's version, if it is this very recommender."""
    from mlflow.exceptions import MlflowException

    with suppress(MlflowException):
        found = client.get_model_version_by_alias(name, ALIAS)
        return str(found.version) if found.tags.get(TAG) == str(ref) else None
    return None


@contextmanager
def _alone(store: Store, ref: ArtifactRef) -> Iterator[Path]:
    """A store of this one artifact."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Store(Path(folder) / "store")
        shutil.copytree(store.folder(ref), copy.folder(ref))
        yield copy.root


def _signature() -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    def columns(**types: str) -> Schema:
        return Schema([ColSpec(kind, name) for name, kind in types.items()])

    rated = columns(user_id="string", item_id="string", rating="double")
    best = columns(user_id="string", rank="long", item_id="string", prediction="float")
    asked = ParamSchema([ParamSpec("top", "long", 10), ParamSpec("why", "boolean", False)])
    return ModelSignature(rated, best, asked)
