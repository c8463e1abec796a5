"""Logging a report and its cells to MLflow. Nothing is pickled, and no user id leaves.

What is logged comes from the store alone, so it can be logged again, later or elsewhere.
"""

import hashlib
import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.models.evaluated_cell import artifacts_by_cell, evaluated_cell
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.atomic import exclusive, replace_atomically
from tasks.tracking.runs import RunContent, described, described_methods, described_report
from tasks.tracking.server import Tracking, open_experiment, quieten
from tasks.tracking.timeout import run_with_timeout

if TYPE_CHECKING:  # mlflow costs seconds
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

TIMEOUT = 30.0  # seconds for a server to take one run
TAG = "artifact"  # the address of what a run shows
PARENT = "mlflow.parentRunId"
MAX_DIGEST = 36  # characters MLflow keeps of a dataset's digest


def track(
    store: Store, tracking: Tracking, scores: Sequence[ArtifactRef], report: ArtifactRef
) -> bool:
    """Log a run for the report, a child run for each cell and a run for each method, once.

    A server that cannot be reached or takes longer than ``TIMEOUT`` for a run costs a warning,
    never the results.

    Args:
        scores: the evaluations and rankings of all cells.

    Returns:
        Whether all of them are logged now.
    """
    cells = [*artifacts_by_cell(store, scores).values()]
    markers = _Markers(store, tracking, evaluated_cell(store, scores[0])["task"])
    if all(markers.is_logged(*refs) for refs in (*cells, [report])):
        return True  # without the seconds that importing mlflow takes
    quieten()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    steps = _log_all(markers, cells, report)
    try:
        if tracking.is_inside_store:
            deque(steps, maxlen=0)
        else:
            while run_with_timeout(lambda: next(steps, False), TIMEOUT):
                pass
    except (MlflowException, SQLAlchemyError, OSError) as error:
        logger.warning(
            "the results are complete in %s, but not logged to MLflow at %s (%s); repeat the "
            "command once it is reachable: nothing but the logging is done again",
            store.root,
            tracking,
            tracking.reason(error),
        )
        return False
    return True


@dataclass(frozen=True)
class _Markers:
    """Files in the store that say which artifacts are logged where."""

    store: Store
    tracking: Tracking
    task: str

    def of(self, *refs: ArtifactRef) -> Path:
        place = hashlib.sha256(f"{self.tracking.uri} {self.task}".encode()).hexdigest()[:16]
        return self.store.root / "tracked" / place / "-".join(ref.digest for ref in refs)

    def is_logged(self, *refs: ArtifactRef) -> bool:
        database = self.tracking.database
        return self.of(*refs).is_file() and (database is None or database.is_file())

    def set(self, *refs: ArtifactRef) -> None:
        replace_atomically(self.of(*refs), Path.touch)


def _log_all(
    markers: _Markers, cells: Sequence[Sequence[ArtifactRef]], report: ArtifactRef
) -> Iterator[bool]:
    """Log one run after the other, and yield True after each."""
    store = markers.store
    runs = _Runs(*open_experiment(markers.tracking, markers.task), store)
    with exclusive(markers.of(report)):  # another process may be logging it
        parent = runs.log(str(report), described_report(store, report))
        yield True
        for refs in cells:
            with exclusive(markers.of(*refs)):
                child = runs.log(" ".join(map(str, refs)), described(store, *refs))
                runs.client.set_tag(child, PARENT, parent)  # the newest report with this cell
                markers.set(*refs)
            yield True
        for run in described_methods(store, report):
            runs.log(f"{report} {run.name}", run)
            yield True
        markers.set(report)


@dataclass(frozen=True)
class _Runs:
    """The runs of one MLflow experiment."""

    client: "MlflowClient"
    experiment: str  # its id
    store: Store

    def log(self, subject: str, run: RunContent) -> str:
        """The id of the complete run that shows ``subject``, created if there is none."""
        if (complete := self._keep_one(subject)) is not None:
            return complete
        tags = {**run.tags, TAG: subject, "mlflow.note.content": run.note}
        created = self.client.create_run(self.experiment, tags=tags, run_name=run.name)
        run_id = str(created.info.run_id)
        self._fill(run_id, run)
        self.client.set_terminated(run_id)
        return self._keep_one(subject) or run_id

    def _fill(self, run_id: str, run: RunContent) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

        now = int(time.time() * 1000)
        metrics = [Metric(p.metric, p.value, now, p.step) for p in run.points]
        params = [Param(*param) for param in run.params.items()]
        self.client.log_batch(run_id, metrics, params)
        datasets = [
            DatasetInput(
                Dataset(name, ref.digest[:MAX_DIGEST], "local", self.store.folder(ref).as_uri()),
                [InputTag("mlflow.data.context", name)],
            )
            for name, ref in run.datasets.items()
        ]
        self.client.log_inputs(run_id, datasets)
        for file in run.files:
            self.client.log_artifact(run_id, str(file))

    def _keep_one(self, subject: str) -> str | None:
        """The id of a complete run that shows ``subject``; all other runs of it are deleted.

        A killed process leaves an incomplete run, and a lost answer leads to a second one.
        """
        runs = self.client.search_runs([self.experiment], f"tags.{TAG} = '{subject}'")
        infos = [run.info for run in runs]
        complete = sorted(str(info.run_id) for info in infos if info.status == "FINISHED")
        for info in infos:
            if info.run_id not in complete[:1]:
                self.client.delete_run(info.run_id)
        return complete[0] if complete else None
