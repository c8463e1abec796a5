"""Experiments in MLflow. Nothing is pickled, and no user id leaves.

What is logged comes from the store alone, so it can be logged again, later or elsewhere.
"""

import hashlib
import logging
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tasks.models.experiment import experiment_of
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.atomic import exclusive, replace_atomically
from tasks.tracking.runs import RunContent, described, described_methods, described_report
from tasks.tracking.timeout import patiently

if TYPE_CHECKING:  # mlflow costs seconds
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

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
PATIENCE = 30.0  # seconds for a server to take one run
SQLITE = "sqlite:///"
SQLITE_MAGIC = b"SQLite format 3\0"
TAG = "artifact"  # the address of what a run shows
PARENT = "mlflow.parentRunId"
ABOUT = {  # tags of an experiment
    "mlflow.experimentKind": "custom_model_development",  # MLflow shows it among trainings
    "mlflow.note.content": (
        "A run a report, its cells below it with their curves, and a run for each method of it. "
        "To compare methods in charts, search for tags.kind = 'method'."
    ),
}
MAX_BATCH = 100  # params MLflow takes at once
MAX_DIGEST = 36  # characters MLflow keeps of a dataset's digest


@dataclass(frozen=True)
class Tracking:
    """Where runs are logged."""

    uri: str
    artifacts: str | None = None  # None: the server decides

    @property
    def is_own(self) -> bool:
        """Whether the database is the store's own."""
        return self.artifacts is not None

    @classmethod
    def inside(cls, store: Store) -> "Tracking":
        """SQLite and a folder, both in the store."""
        root = store.root.resolve()
        return cls(f"{SQLITE}{root / 'mlflow.db'}", (root / "mlflow").as_uri())

    @classmethod
    def chosen(cls, uri: str | None, store: Store) -> "Tracking":
        """At the given URI, or inside the store."""
        return cls(uri) if uri else cls.inside(store)

    def __str__(self) -> str:
        return self.without_password(self.uri)

    def without_password(self, text: str) -> str:
        """The text, fit for a log."""
        password = urlsplit(self.uri).password
        return text.replace(f":{password}@", ":***@") if password else text


def track(
    store: Store, where: Tracking, evaluations: Sequence[ArtifactRef], report: ArtifactRef
) -> bool:
    """Log a run for the report, below it one for each cell, beside it one for each method; once.

    A server that cannot be reached or takes longer than ``PATIENCE`` for a run costs a warning,
    never the results.

    Returns:
        Whether all of them are logged now.
    """
    task = experiment_of(store, evaluations[0])["task"]
    if all(_is_logged(store, where, task, ref) for ref in (*evaluations, report)):
        return True  # without the seconds that importing mlflow takes
    quieten()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    steps = _logged(store, where, task, evaluations, report)
    try:
        if where.is_own:
            deque(steps, maxlen=0)
        else:
            patiently(steps, PATIENCE)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        logger.warning(
            "the results are complete in %s, but not logged to MLflow at %s (%s); repeat the "
            "command once it is reachable: nothing but the logging is done again",
            store.root,
            where,
            where.without_password(str(error).splitlines()[0])[:200],
        )
        return False
    return True


def quieten() -> None:
    """Set what MLflow reads when it is imported, where nobody set it otherwise."""
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})


def serve(where: Tracking, port: int) -> None:
    """Become MLflow's UI on the loopback address."""
    if where.uri.startswith("http"):
        raise ValueError(f"experiments are on a server of their own: open {where} in a browser")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ValueError(f"port {port} is in use: choose another with --port") from error
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    place = ["--backend-store-uri", where.uri]
    one = {"MLFLOW_WORKERS": "1"}  # enough for one person, and up in half the time of four
    os.execve(sys.executable, [*command, *place], {**QUIET, **one, **os.environ})


def _logged(
    store: Store,
    where: Tracking,
    task: str,
    evaluations: Sequence[ArtifactRef],
    report: ArtifactRef,
) -> Iterator[None]:
    """Log one run after the other."""
    client, experiment = open_experiment(where, task)
    marks = {ref: _mark(store, where, task, ref) for ref in (*evaluations, report)}
    with exclusive(marks[report]):  # another process may be at it
        parent = _log(client, experiment, store, str(report), described_report(store, report))
        yield
        for ref in evaluations:
            with exclusive(marks[ref]):
                child = _log(client, experiment, store, str(ref), described(store, ref))
                client.set_tag(child, PARENT, parent)  # the newest report that it is part of
                replace_atomically(marks[ref], Path.touch)
            yield
        for run in described_methods(store, report):
            _log(client, experiment, store, f"{report} {run.name}", run)
            yield
        replace_atomically(marks[report], Path.touch)


def open_experiment(where: Tracking, task: str) -> "tuple[MlflowClient, str]":
    """A client, and the id of the task's experiment, made if it is not there."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its retries end in one warning of ours
    from mlflow import MlflowClient

    if where.is_own:
        _prepare(Path(where.uri.removeprefix(SQLITE)))
    client = MlflowClient(where.uri)
    if where.is_own:
        _hide_default(client)
    return client, _experiment(client, task, where.artifacts)


def _experiment(client: "MlflowClient", task: str, artifacts: str | None) -> str:
    from mlflow.exceptions import MlflowException

    known = client.get_experiment_by_name(task)
    if known is None:
        try:
            return client.create_experiment(task, artifacts, tags=ABOUT)
        except MlflowException:
            known = client.get_experiment_by_name(task)
            if known is None:  # else another process made it, or the answer was lost
                raise
    return known.experiment_id


def _prepare(database: Path) -> None:
    """Make the database unless it is there: MLflow goes on with none that it half made.

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
    """Mark MLflow's default experiment as deleted, which can be undone, while it holds nothing."""
    from mlflow.entities import ViewType
    from mlflow.exceptions import MlflowException

    default = "0"
    held = (
        client.search_runs([default], run_view_type=ViewType.ALL, max_results=1),
        client.search_traces(locations=[default], max_results=1),
        client.search_logged_models([default], max_results=1),
    )
    if not any(held):
        with suppress(MlflowException):  # it is marked already
            client.delete_experiment(default)


def _log(
    client: "MlflowClient", experiment: str, store: Store, what: str, run: "RunContent"
) -> str:
    """The id of the run that shows ``what``, made unless a complete one is there already."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

    if (complete := _keep_one(client, experiment, what)) is not None:
        return complete
    tags = {**run.tags, TAG: what, "mlflow.note.content": run.note}
    new = client.create_run(experiment, tags=tags, run_name=run.name).info.run_id
    now = int(time.time() * 1000)
    metrics = [Metric(p.metric, p.value, now, p.step) for p in run.points]
    params = [Param(*param) for param in run.params.items()]
    for start in range(0, max(len(metrics), len(params)), MAX_BATCH):
        part = slice(start, start + MAX_BATCH)
        client.log_batch(new, metrics[part], params[part])
    datasets = [
        DatasetInput(
            Dataset(name, data.digest[:MAX_DIGEST], "local", store.folder(data).as_uri()),
            [InputTag("mlflow.data.context", name)],
        )
        for name, data in run.datasets.items()
    ]
    client.log_inputs(new, datasets)
    for file in run.files:
        client.log_artifact(new, str(file))
    client.set_terminated(new)
    return _keep_one(client, experiment, what) or str(new)


def _keep_one(client: "MlflowClient", experiment: str, what: str) -> str | None:
    """The id of a complete run that shows ``what``; all others that should are deleted.

    A process that was killed leaves one, and a server whose answer was lost made one twice.
    """
    found = [run.info for run in client.search_runs([experiment], f"tags.{TAG} = '{what}'")]
    complete = sorted(str(run.run_id) for run in found if run.status == "FINISHED")
    for run in found:
        if run.run_id not in complete[:1]:
            client.delete_run(run.run_id)
    return complete[0] if complete else None


def _is_logged(store: Store, where: Tracking, task: str, ref: ArtifactRef) -> bool:
    database = Path(where.uri.removeprefix(SQLITE))
    lost = where.uri.startswith(SQLITE) and not database.is_file()
    return _mark(store, where, task, ref).is_file() and not lost


def _mark(store: Store, where: Tracking, task: str, ref: ArtifactRef) -> Path:
    place = hashlib.sha256(f"{where.uri} {task}".encode()).hexdigest()[:16]
    return store.root / "tracked" / place / ref.digest
