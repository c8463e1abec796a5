"""What runs a flow's stages: processes on this machine, a Dask cluster, a Ray cluster.

Threads of one process do not speed up trainings of many small operations: they share one
interpreter lock.
"""

import logging
import os
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal
from uuid import uuid4

import dask
from distributed import KilledWorker, get_worker
from prefect import Task
from prefect.client.schemas.objects import RunInput, State, TaskRun
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, Settings, temporary_settings
from prefect.task_runners import TaskRunner
from prefect_dask.task_runners import DaskTaskRunner, PrefectDaskFuture

from tasks.progress import Finished, Step, listen, tell
from tasks.store.artifacts import ArtifactRef

Runner = Literal["local", "dask", "ray"]
AnyStage = Task[..., ArtifactRef]

LOCAL = {
    "threads_per_worker": 1,
    "host": "127.0.0.1",
    "security": True,  # whoever can connect can run code
    "dashboard_address": "127.0.0.1:0",
    "memory_limit": None,  # killed for its size, a stage would only begin again
}
QUIET = {  # in processes started here
    "DASK_LOGGING__DISTRIBUTED": "error",
    # the tracker sweeps up after a flow that was stopped at once, and would say so
    "PYTHONWARNINGS": "ignore:resource_tracker:UserWarning",
}
# with it Dask's workers give memory back at once, and trainings take half as long again
TRIM = "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_"
SECONDS_BETWEEN_STEPS = 0.2


class WorkerLost(RuntimeError):
    """A stage that no worker survived."""


def task_runner(kind: Runner, workers: int, address: str | None = None) -> TaskRunner[Any]:
    """``workers`` processes here, or whatever workers the cluster at ``address`` has."""
    if (kind == "local") != (address is None):
        raise ValueError(f"the runner {kind!r} and the address {address!r} do not go together")
    logging.getLogger("distributed").setLevel(logging.ERROR)
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    if kind == "local":
        dask.config.set({TRIM: None})
        cluster = {**LOCAL, "n_workers": workers}
        return Workers(cluster_class="distributed.LocalCluster", cluster_kwargs=cluster)
    if kind == "dask":
        return Workers(address=_answering(address))
    try:
        from flows.runtime.ray import RayWorkers
    except ModuleNotFoundError as error:
        raise ValueError("the runner 'ray' needs: pip install 'metaem[cluster]'") from error
    return RayWorkers(address=_answering(address), init_kwargs={"log_to_driver": False})


def _answering(address: str | None) -> str:
    """The address, once something listens there: Ray would look for it for minutes."""
    host, _, port = str(address).rpartition("://")[2].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise OSError(f"no cluster answers at {address!r}: {error}") from error
    return str(address)


class Workers(DaskTaskRunner):
    """Dask's workers, each stage with one thread; their news reaches who listens to the flow."""

    _topic = ""

    def submit(  # type: ignore[override]  # of stages alone
        self,
        task: AnyStage,
        parameters: dict[str, object],
        wait_for: Iterable[PrefectDaskFuture[ArtifactRef]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> "WorkersFuture":
        """Start a stage once its inputs are there."""
        self._topic = self._topic or self._hear()
        begun = task.with_options(on_running=[Begin(self._topic)])
        with same_server():
            future = super().submit(begun, parameters, wait_for, dependencies)
        return WorkersFuture(future.task_run_id, future.wrapped_future)

    def _hear(self) -> str:
        """Pass on what workers will tell under a new topic."""
        topic, context, ended = f"metaem-{uuid4().hex}", copy_context(), set[str]()

        def hear(event: tuple[float, dict[str, object]]) -> None:
            news = _news(event[1])
            if news.label not in ended:  # Dask asks again for what a dead worker had finished
                context.run(tell, news)
            if isinstance(news, Finished):
                ended.add(news.label)

        self.client.subscribe_topic(topic, hear)  # type: ignore[no-untyped-call]
        return topic


class WorkersFuture(PrefectDaskFuture[ArtifactRef]):
    """A stage on one of Dask's workers; if that dies, Dask starts it on another, thrice."""

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> ArtifactRef:
        """Wait for the artifact; like Prefect's own, it may return what went wrong instead."""
        try:
            return super().result(timeout, raise_on_failure)
        except KilledWorker as error:
            lost = WorkerLost(f"every worker that began it died: {error.task}")
            if raise_on_failure:
                raise lost from error
            return lost  # type: ignore[return-value]


@dataclass(frozen=True)
class Begin:
    """What a worker does before a stage."""

    topic: str = ""

    def __call__(self, task: AnyStage, run: TaskRun, state: State[ArtifactRef]) -> None:
        os.environ["OMP_NUM_THREADS"] = "1"
        if "torch" in sys.modules:  # else it will read the variable
            sys.modules["torch"].set_num_threads(1)
        if self.topic:
            listen(Forward(self.topic))


@dataclass
class Forward:
    """Sends news to the flow, steps not too often."""

    topic: str
    quiet_until: float = 0.0

    def __call__(self, news: Step | Finished) -> None:
        now = time.monotonic()
        if isinstance(news, Finished) or now >= self.quiet_until:
            self.quiet_until = now + SECONDS_BETWEEN_STEPS
            get_worker().log_event(self.topic, asdict(news))


def same_server() -> AbstractContextManager[Settings]:
    """What is submitted inside uses the flow's Prefect server, even a temporary one."""
    context = FlowRunContext.get()
    assert context is not None, "stages are submitted by flows"
    return temporary_settings({PREFECT_API_URL: str(context.client.api_url).rstrip("/")})


def _news(sent: dict[str, object]) -> Step | Finished:
    kind = Finished if "reused" in sent else Step
    return kind(**{each.name: sent[each.name] for each in fields(kind)})  # type: ignore[arg-type]
