"""Stages on a running Ray cluster; needs the extra ``cluster``."""

from collections.abc import Iterable
from concurrent.futures import Future
from contextvars import copy_context

from prefect.client.schemas.objects import RunInput, State
from prefect_ray import RayTaskRunner
from prefect_ray.task_runners import PrefectRayFuture

from flows.runtime.workers import AnyStage, Begin, same_server
from tasks.progress import finished
from tasks.store.artifacts import ArtifactRef


class RayWorkers(RayTaskRunner[ArtifactRef]):
    """Ray's workers, each stage with one thread; of their progress only ends reach the flow."""

    def submit(
        self,
        task: AnyStage,
        parameters: dict[str, object],
        wait_for: Iterable[PrefectRayFuture[ArtifactRef]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> PrefectRayFuture[ArtifactRef]:
        """Start a stage once its inputs are there."""
        label, context = str(task.task_run_name), copy_context()

        def announce(done: Future[State[ArtifactRef]]) -> None:
            if done.exception() is None and done.result().is_completed():
                context.run(finished, label, reused=done.result().name == "Cached")

        with same_server():
            future = super().submit(
                task.with_options(on_running=[Begin()]), parameters, wait_for, dependencies
            )
        future.wrapped_future.future().add_done_callback(announce)
        return future
