"""What is alike on every worker process, whoever runs it."""

import os
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, Settings, temporary_settings

from tasks.progress import Listener, listen
from tasks.store.artifacts import ArtifactRef

AnyStage = Task[..., ArtifactRef]


@dataclass(frozen=True)
class Begin:
    """Prepares a worker for a stage: one thread, and a listener to its progress."""

    listener: Listener | None = None

    def __call__(self, task: AnyStage, run: TaskRun, state: State[ArtifactRef]) -> None:
        os.environ["OMP_NUM_THREADS"] = "1"
        if "torch" in sys.modules:  # else it will read the variable
            sys.modules["torch"].set_num_threads(1)
        if self.listener is not None:
            listen(self.listener)


def same_server() -> AbstractContextManager[Settings]:
    """What is submitted inside uses the flow's Prefect server, even a temporary one."""
    context = FlowRunContext.get()
    assert context is not None, "stages are submitted by flows"
    return temporary_settings({PREFECT_API_URL: str(context.client.api_url).rstrip("/")})
