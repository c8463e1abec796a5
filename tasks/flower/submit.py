"""Handing a job to a running federation, and waiting for its end."""

import json
import os
import secrets
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import TypeAdapter

from tasks.flower.assign import FEDERATION
from tasks.progress import advance
from tasks.store.artifacts import Store
from tasks.store.atomic import write_json

if TYPE_CHECKING:
    from torch import Tensor

    from tasks.flower.job import Job
    from tasks.flower.request import Request
    from tasks.models.train import Cost

APP = Path(__file__).with_name("app")
LINK = "loopback"  # its name in the federation's home
POLL = 1.0  # seconds between looks at the job
QUORUM = 0.8  # share of a cohort that must answer
LARGEST = 1e4  # norm of a device's gradient beyond which it is left out
ALIVE = 15.0  # seconds between questions whether the run is still there
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Connection:
    """Where Flower and its SuperLink are; ``connection.json`` in the federation's folder."""

    flower: str  # bin folder of its environment
    home: str  # FLWR_HOME, which names the SuperLink
    nodes: int
    timeout: float  # seconds that a silent node is waited for

    NAME: ClassVar[str] = "connection.json"

    @property
    def environment(self) -> dict[str, str]:
        """For Flower's programs: where they are, and that they send no telemetry."""
        path = f"{self.flower}{os.pathsep}{os.environ.get('PATH', '')}"
        return {**QUIET, "FLWR_HOME": self.home, "PATH": path}

    def write(self, folder: Path) -> None:
        write_json(folder / self.NAME, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Connection":
        """Raises ValueError where no federation is up."""
        path = folder / cls.NAME
        if not path.exists():
            raise ValueError(
                f"no federation is up in {str(folder)!r}: start one with `metaem federation up`"
            )
        return TypeAdapter(cls).validate_json(path.read_bytes())


class FederationFailed(RuntimeError):
    """The federation did not finish the job; what it finished is kept for the next try."""


def hand_out(store: Store, name: str, request: "Request", start: "Mapping[str, Tensor]") -> "Job":
    """Have a job done by the federation in the store's folder, if it has not been.

    Raises as :func:`run_job`.
    """
    from tasks.flower.job import Job, Spec

    connection = Connection.read(store.root / FEDERATION)
    if (before := Job(store.scratch / name)).is_done(request, start):
        return before
    spec = Spec(
        attempt=secrets.token_hex(8),
        request=request,
        nodes=connection.nodes,
        timeout=connection.timeout,
        quorum=QUORUM,
        largest=LARGEST,
    )
    job = Job.create(store.scratch / name, spec, start)
    run_job(job, connection)
    return job


def cost_of_job(job: "Job", cohort_size: int, more: int = 0) -> "Cost":
    """What the devices of a job that is done sent and were sent; ``more`` passes ended it."""
    from metaem_core.federated.encoding import Traffic
    from tasks.models.train import Cost

    result = job.result
    epochs, trained = sum(each or 0 for each in result["epochs"]), result["trained"]
    epoch = Traffic(*(way // max(epochs + more, 1) for way in trained))
    ways = zip(epoch, result["evaluated"], strict=True)
    beside = Traffic(*(more * way + evaluated for way, evaluated in ways))
    return Cost(result["devices"], cohort_size, epochs, epoch, beside)


def cost_of_overlap(left: "Job", job: "Job") -> "Cost":
    """The same of a mapping's sums, for which an earlier job left features."""
    from metaem_core.federated.encoding import Traffic

    cost = cost_of_job(job, job.result["devices"], more=1)
    ways = zip(cost.beside, left.result["trained"], strict=True)
    return cost._replace(beside=Traffic(*map(sum, ways)))


def run_job(job: "Job", connection: Connection) -> None:
    """Submit the job and wait for its end.

    Raises:
        FederationFailed: it could not be submitted, failed, or is gone.
    """
    answer = _flwr(connection, "run", str(APP), "--run-config", f'job="{job.folder}"')
    run_id, looked = str(answer["run-id"]), time.monotonic()
    try:
        while job.done is None:
            if (why := job.failure) is not None:
                raise FederationFailed(why)
            if time.monotonic() > looked + ALIVE:
                looked = time.monotonic()
                _require_running(connection, run_id, job)
            if (epoch := job.progress) is not None:
                advance(epoch["epoch"], epoch["of"], note=epoch["news"])
            time.sleep(POLL)
    finally:
        if job.done is None and job.failure is None:
            with suppress(FederationFailed):
                _flwr(connection, "stop", run_id)


def _require_running(connection: Connection, run_id: str, job: "Job") -> None:
    state = str(_flwr(connection, "list", "--run-id", run_id)["runs"][0]["status"])
    if state.startswith("finished") and job.done is None and job.failure is None:
        raise FederationFailed(f"run {run_id} ended without a result: {state}")


def _flwr(connection: Connection, command: str, *options: str) -> dict[str, Any]:
    """One of Flower's commands, at the federation's SuperLink; what it says as JSON."""
    first = options[:1] if command in ("run", "stop") else ()  # what is run or stopped
    others = options[len(first) :]
    program = str(Path(connection.flower) / "flwr")
    words = [program, command, *first, LINK, *others, "--format", "json"]
    done = subprocess.run(
        words, env={**os.environ, **connection.environment}, capture_output=True, text=True
    )
    try:
        answer = json.loads(done.stdout[done.stdout.index("{") :])
    except ValueError:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["(no word)"]
        raise FederationFailed(f"flwr {command}: {last[0]}") from None
    if not answer.get("success", False):
        raise FederationFailed(f"flwr {command}: {answer.get('error-message', answer)}")
    return cast(dict[str, Any], answer)
