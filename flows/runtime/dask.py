"""Stages on Dask's workers: processes of this machine, or a cluster."""

import logging
import os
import time
from collections.abc import Iterable
from contextvars import copy_context
from dataclasses import asdict, dataclass
from uuid import uuid4

import dask
from distributed import KilledWorker, get_worker
from prefect.client.schemas.objects import RunInput
from prefect_dask.task_runners import DaskTaskRunner, PrefectDaskFuture
from pydantic import TypeAdapter

from flows.runtime.workers import AnyStage, Begin, same_server
from tasks.progress import Finished, Step, notify
from tasks.store.artifacts import ArtifactRef

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

_EVENT: TypeAdapter[Step | Finished] = TypeAdapter(Step | Finished)


def dask_workers(count: int, address: str | None) -> "DaskWorkers":
    """``count`` processes of this machine, or those of the cluster at ``address``."""
    logging.getLogger("distributed").setLevel(logging.ERROR)
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    if address is not None:
        return DaskWorkers(address=address)
    dask.config.set({TRIM: None})
    cluster = {**LOCAL, "n_workers": count}
    return DaskWorkers(cluster_class="distributed.LocalCluster", cluster_kwargs=cluster)


class WorkerLost(RuntimeError):
    """A stage that no worker survived."""


class DaskWorkers(DaskTaskRunner):
    """Dask's workers, each stage with one thread; the flow's listener hears their progress."""

    _topic = ""

    def submit(  # type: ignore[override]  # of stages alone
        self,
        task: AnyStage,
        parameters: dict[str, object],
        wait_for: Iterable[PrefectDaskFuture[ArtifactRef]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> "DaskFuture":
        """Start a stage once its inputs are there."""
        self._topic = self._topic or self._subscribe()
        begun = task.with_options(on_running=[Begin(Forward(self._topic))])
        with same_server():
            future = super().submit(begun, parameters, wait_for, dependencies)
        return DaskFuture(future.task_run_id, future.wrapped_future)

    def _subscribe(self) -> str:
        """Pass on what workers send under a new topic."""
        topic, context, ended = f"metaem-{uuid4().hex}", copy_context(), set[str]()

        def receive(sent: tuple[float, dict[str, object]]) -> None:
            event = _EVENT.validate_python(sent[1])
            if event.label not in ended:  # Dask asks again for what a dead worker had finished
                context.run(notify, event)
            if isinstance(event, Finished):
                ended.add(event.label)

        self.client.subscribe_topic(topic, receive)  # type: ignore[no-untyped-call]
        return topic


class DaskFuture(PrefectDaskFuture[ArtifactRef]):
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


@dataclass
class Forward:
    """Sends a stage's progress to the flow, steps not too often."""

    topic: str
    quiet_until: float = 0.0

    def __call__(self, event: Step | Finished) -> None:
        now = time.monotonic()
        if isinstance(event, Finished) or now >= self.quiet_until:
            self.quiet_until = now + SECONDS_BETWEEN_STEPS
            get_worker().log_event(self.topic, asdict(event))
