"""What prefect.yaml schedules, as Prefect's objects, and the watch over what it started.

``python -m flows.schedule.deployments`` sets up the watch alone, beside ``prefect deploy --all``.
"""

import asyncio
import signal
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import httpx
from prefect.automations import AutomationCore, EventTrigger, Posture, ResourceSpecification
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, StateType
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger
from prefect.events.actions import ChangeFlowRunState
from prefect.runner import Runner
from prefect.schedules import Schedule
from prefect.settings import PREFECT_API_URL

from flows.errors import plain_errors

SILENCE = timedelta(seconds=120)  # four heartbeats, as prefect.yaml sets them
WATCH = "MetaEM: mark silent runs as Crashed"


class NoServer(RuntimeError):
    """Prefect's server does not answer, or not to us."""


def reach_server() -> str:
    """The address of the Prefect server that is meant.

    Raises:
        ValueError: none is.
        NoServer: it does not answer.
    """
    url: str | None = PREFECT_API_URL.value()
    if not url:
        raise ValueError(
            "schedules need a Prefect server: start `prefect server start`, and set "
            "PREFECT_API_URL, such as http://127.0.0.1:4200/api"
        )
    try:
        with get_client(sync_client=True) as client:
            client.read_flows(limit=1)
    except httpx.HTTPStatusError as error:
        code = error.response.status_code
        hint = ": set PREFECT_API_AUTH_STRING" if code == httpx.codes.UNAUTHORIZED else ""
        raise NoServer(f"the Prefect server at {url} answers {code}{hint}") from error
    except httpx.HTTPError as error:
        raise NoServer(f"no Prefect server answers at {url}: {type(error).__name__}") from error
    return url


def deployment(told: Mapping[str, Any]) -> RunnerDeployment:
    """One of prefect.yaml's deployments, for a process that makes its runs itself.

    Raises:
        ValueError: it is not of this form.
    """
    limit = told.get("concurrency_limit")
    try:
        made = RunnerDeployment.from_entrypoint(
            told["entrypoint"],
            told["name"],
            tags=told.get("tags"),
            paused=told.get("paused", False),
            schedules=[Schedule(**each) for each in told.get("schedules", ())],
            parameters=told.get("parameters"),
            concurrency_limit=limit and ConcurrencyLimitConfig(**limit),
            triggers=[DeploymentEventTrigger(**each) for each in told.get("triggers", ())],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"deployment {told.get('name')!r}: {error}") from error
    assert isinstance(made, RunnerDeployment)  # a coroutine where there is an event loop
    return made


class Keeper(Runner):
    """Ends its runs before itself; Prefect's own leaves them as Running."""

    def handle_sigterm(self, *args: object, **kwargs: object) -> None:
        """Stop, from a signal handler of the thread whose loop is running; once is enough."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        asyncio.get_running_loop().call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._ending = asyncio.ensure_future(self.astop())


def run(deployments: Iterable[RunnerDeployment]) -> None:
    """Keep these schedules and make their runs, until SIGTERM or Ctrl-C."""
    # paused schedules would forget a night on which nobody was here
    keeper = Keeper(pause_on_shutdown=False)
    for each in deployments:
        keeper.add_deployment(each)
    signal.signal(signal.SIGINT, keeper.handle_sigterm)
    asyncio.run(keeper.start())


def watch_runs() -> None:
    """Let the server mark a run of ours as Crashed once its process went silent.

    A process that is killed together with what started it cannot tell so itself.
    """
    endings = ("Completed", "Failed", "Crashed", "Cancelled", "AwaitingRetry")
    beat = "prefect.flow-run.heartbeat"
    watch = AutomationCore(
        name=WATCH,
        description=f"No heartbeat within {SILENCE.seconds} s",
        trigger=EventTrigger(
            after={beat},
            expect={beat, *(f"prefect.flow-run.{state}" for state in endings)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": ["flow"], "prefect.resource.name": ["nightly", "weekly"]}
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed",
                state=StateType.CRASHED,
                force=False,
                message=f"no heartbeat within {SILENCE.seconds} s; the next run goes on from its "
                "last finished epoch",
            )
        ],
    )
    with get_client(sync_client=True) as client:
        for old in client.read_automations_by_name(WATCH):
            client.delete_automation(old.id)
        client.create_automation(watch)


if __name__ == "__main__":
    with plain_errors():
        reach_server()
        watch_runs()
