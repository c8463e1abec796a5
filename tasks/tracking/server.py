"""Where experiments are logged: a database in the store, or a server."""

import logging
import os
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tasks.store.artifacts import Store
from tasks.store.atomic import exclusive, replace_atomically

if TYPE_CHECKING:  # mlflow costs seconds
    from mlflow import MlflowClient

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    # a server that is down must not hold up the results
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
SQLITE = "sqlite:///"
SQLITE_MAGIC = b"SQLite format 3\0"
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",  # MLflow shows it among trainings
    "mlflow.note.content": (
        "Each report is a run, with a child run for each of its cells and a run for each of its "
        "methods. To compare methods in charts, search for tags.kind = 'method'."
    ),
}


@dataclass(frozen=True)
class Tracking:
    """Where runs are logged."""

    uri: str
    artifacts: str | None = None  # None: the server decides

    @classmethod
    def inside(cls, store: Store) -> "Tracking":
        """SQLite and a folder, both in the store."""
        root = store.root.resolve()
        return cls(f"{SQLITE}{root / 'mlflow.db'}", (root / "mlflow").as_uri())

    @classmethod
    def chosen(cls, uri: str | None, store: Store) -> "Tracking":
        """At the given URI, or inside the store."""
        return cls(uri) if uri else cls.inside(store)

    @property
    def is_inside_store(self) -> bool:
        return self.artifacts is not None

    @property
    def database(self) -> Path | None:
        """The SQLite file, if it is one."""
        path = self.uri.removeprefix(SQLITE)
        return Path(path) if path != self.uri else None

    def __str__(self) -> str:
        return self.without_password(self.uri)

    def without_password(self, text: str) -> str:
        """The text, fit for a log."""
        password = urlsplit(self.uri).password
        return text.replace(f":{password}@", ":***@") if password else text

    def reason(self, error: Exception) -> str:
        """The first line of an error, fit for a log."""
        return self.without_password(str(error).splitlines()[0])[:200]


def quieten() -> None:
    """Set the variables that MLflow reads at import, except those that the user has set."""
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})


def serve(tracking: Tracking, port: int) -> None:
    """Become MLflow's UI on the loopback address.

    Raises:
        ValueError: the experiments are on a server, or the port is in use.
    """
    if tracking.uri.startswith("http"):
        raise ValueError(f"experiments are on a server of their own: open {tracking} in a browser")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ValueError(f"port {port} is in use: choose another with --port") from error
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    one = {"MLFLOW_WORKERS": "1"}  # enough for one user, and up in half the time of four
    environment = {**QUIET, **one, **os.environ}
    os.execve(sys.executable, [*command, "--backend-store-uri", tracking.uri], environment)


def open_experiment(tracking: Tracking, task: str) -> "tuple[MlflowClient, str]":
    """A client, and the id of the task's experiment, which is created if it does not exist."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its retries end in one warning of ours
    from mlflow import MlflowClient

    if tracking.is_inside_store and tracking.database:
        _create_database(tracking.database)
    client = MlflowClient(tracking.uri)
    if tracking.is_inside_store:
        _hide_default(client)
    return client, _experiment(client, task, tracking.artifacts)


def _experiment(client: "MlflowClient", task: str, artifacts: str | None) -> str:
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(task)
    if experiment is None:
        try:
            return client.create_experiment(task, artifacts, tags=EXPERIMENT_TAGS)
        except MlflowException:  # another process created it, or the answer was lost
            experiment = client.get_experiment_by_name(task)
            if experiment is None:
                raise
    return experiment.experiment_id


def _create_database(database: Path) -> None:
    """Create the database atomically unless it exists: MLflow never finishes an incomplete one.

    Raises:
        OSError: there is another file in its place.
    """
    from mlflow import MlflowClient

    with exclusive(database):
        if not database.exists():
            replace_atomically(database, lambda new: MlflowClient(f"{SQLITE}{new}"))
    with database.open("rb") as file:
        if file.read(len(SQLITE_MAGIC)) != SQLITE_MAGIC:  # MLflow would try again for minutes
            raise OSError(f"{database} is no SQLite database: delete it, and all is logged again")


def _hide_default(client: "MlflowClient") -> None:
    """Delete MLflow's empty default experiment, which can be undone."""
    from mlflow.entities import ViewType
    from mlflow.exceptions import MlflowException

    default = "0"
    contents = (
        client.search_runs([default], run_view_type=ViewType.ALL, max_results=1),
        client.search_traces(locations=[default], max_results=1),
        client.search_logged_models([default], max_results=1),
    )
    if not any(contents):
        with suppress(MlflowException):  # it is deleted already
            client.delete_experiment(default)
