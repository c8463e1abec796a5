"""Experiments in MLflow; the only code that knows it. Nothing is pickled, and no user id leaves.

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
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tasks.artifacts import ArtifactRef, Store
from tasks.experiment import RunContent, described, described_report, experiment_of
from tasks.files import exclusive, replace_atomically

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
    """Log one run an experiment and one for the report; those already logged are left alone.

    A server that cannot be reached or takes longer than ``PATIENCE`` for a run costs a warning,
    never the results.

    Returns:
        Whether all of them are logged now.
    """
    missing = [ref for ref in (*evaluations, report) if not _is_logged(store, where, ref)]
    if not missing:
        return True  # without the seconds that importing mlflow takes
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    task = experiment_of(store, evaluations[0])["task"]
    steps = _logged(store, where, task, missing, report)
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


def patiently(steps: Iterator[None], seconds: float) -> None:
    """Take the steps on a thread; TimeoutError once one is not done within ``seconds``."""
    news: SimpleQueue[Exception | bool] = SimpleQueue()
    given_up = Event()

    def take() -> None:
        try:
            for _ in steps:
                if given_up.is_set():
                    return
                news.put(True)
            news.put(False)
        except Exception as error:  # of any kind: it is raised where it is waited for
            news.put(error)

    Thread(target=take, daemon=True).start()  # one that hangs must not keep the process
    goes_on: Exception | bool = True
    while goes_on:
        try:
            goes_on = news.get(timeout=seconds)
        except Empty:
            given_up.set()
            raise TimeoutError(f"not done within {seconds:g} s") from None
        if isinstance(goes_on, Exception):
            raise goes_on


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
    os.execve(sys.executable, [*command, *place], {**QUIET, **os.environ})


def _logged(
    store: Store, where: Tracking, task: str, missing: Sequence[ArtifactRef], report: ArtifactRef
) -> Iterator[None]:
    """Log one run after the other."""
    client, experiment = _open(where, task)
    for ref in missing:
        mark = _mark(store, where, ref)
        with exclusive(mark):  # another process may be at it
            if not _is_logged(store, where, ref):
                run = described_report(store, ref) if ref == report else described(store, ref)
                _log(client, experiment, store, ref, run)
                replace_atomically(mark, Path.touch)
        yield


def _open(where: Tracking, task: str) -> "tuple[MlflowClient, str]":
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
            return client.create_experiment(task, artifact_location=artifacts)
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
    client: "MlflowClient", experiment: str, store: Store, ref: ArtifactRef, run: "RunContent"
) -> None:
    """Make the run that shows ``ref``, unless a complete one is there already."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

    if _keep_one(client, experiment, ref):
        return
    tags = {**run.tags, TAG: str(ref), "mlflow.note.content": run.note}
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
    _keep_one(client, experiment, ref)


def _keep_one(client: "MlflowClient", experiment: str, ref: ArtifactRef) -> bool:
    """Whether a complete run shows ``ref``; all others that should are deleted.

    A process that was killed leaves one, and a server whose answer was lost made one twice.
    """
    found = [run.info for run in client.search_runs([experiment], f"tags.{TAG} = '{ref}'")]
    complete = sorted(run.run_id for run in found if run.status == "FINISHED")
    for run in found:
        if run.run_id not in complete[:1]:
            client.delete_run(run.run_id)
    return bool(complete)


def _is_logged(store: Store, where: Tracking, ref: ArtifactRef) -> bool:
    database = Path(where.uri.removeprefix(SQLITE))
    lost = where.uri.startswith(SQLITE) and not database.is_file()
    return _mark(store, where, ref).is_file() and not lost


def _mark(store: Store, where: Tracking, ref: ArtifactRef) -> Path:
    place = hashlib.sha256(where.uri.encode()).hexdigest()[:16]
    return store.root / "tracked" / place / ref.digest
