"""The deployments of prefect.yaml, served by this process, and the watch over their runs.

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
    """Prefect's server does not answer, or refuses."""


def reach_server() -> str:
    """The address of the Prefect server.

    Raises:
        ValueError: none is configured.
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


def deployment(entry: Mapping[str, Any]) -> RunnerDeployment:
    """One of prefect.yaml's deployments, for a process that starts its runs itself.

    Raises:
        ValueError: the entry is not of prefect.yaml's form.
    """
    limit = entry.get("concurrency_limit")
    try:
        served = RunnerDeployment.from_entrypoint(
            entry["entrypoint"],
            entry["name"],
            tags=entry.get("tags"),
            paused=entry.get("paused", False),
            schedules=[Schedule(**each) for each in entry.get("schedules", ())],
            parameters=entry.get("parameters"),
            concurrency_limit=limit and ConcurrencyLimitConfig(**limit),
            triggers=[DeploymentEventTrigger(**each) for each in entry.get("triggers", ())],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"deployment {entry.get('name')!r}: {error}") from error
    assert isinstance(served, RunnerDeployment)  # a coroutine where there is an event loop
    return served


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
    """Keep these schedules and start their runs, until SIGTERM or Ctrl-C."""
    # paused schedules would forget a night on which nobody was here
    keeper = Keeper(pause_on_shutdown=False)
    for each in deployments:
        keeper.add_deployment(each)
    signal.signal(signal.SIGINT, keeper.handle_sigterm)
    asyncio.run(keeper.start())


def watch_runs() -> None:
    """Let the server mark a run of ours as Crashed once its process went silent.

    Nobody else can report it where the run's process and its parent were killed together.
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
