"""Handing a job to a running federation, and waiting for its end."""

import json
import os
import secrets
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tasks.flower.assign import FEDERATION
from tasks.flower.connection import Connection
from tasks.progress import advance
from tasks.store.artifacts import Draft, Store

if TYPE_CHECKING:
    from torch import Tensor

    from tasks.flower.job import Done, Job
    from tasks.flower.node import Asked

APP = Path(__file__).with_name("app")
LINK = "loopback"  # its name in the federation's home
POLL = 1.0  # seconds between looks at the job
QUORUM = 0.8  # share of a cohort that must answer
LARGEST = 1e4  # norm of a device's gradient beyond which it is left out
ALIVE = 15.0  # seconds between questions whether the run is still there


class FederationFailed(RuntimeError):
    """The federation did not finish the job; what it finished is kept for the next try."""


def hand_out(store: Store, name: str, asked: "Asked", start: "Mapping[str, Tensor]") -> "Job":
    """Have a job done by the federation in the store's folder, if it has not been.

    Raises as :func:`run_job`.
    """
    from tasks.flower.job import About, Job

    connection = Connection.read(store.root / FEDERATION)
    if (before := Job(store.scratch / name)).is_done(asked, start):
        return before
    about = About(
        attempt=secrets.token_hex(8),
        asked=asked,
        nodes=connection.nodes,
        patience=connection.patience,
        quorum=QUORUM,
        largest=LARGEST,
    )
    job = Job.create(store.scratch / name, about, start)
    run_job(job, connection)
    return job


def write_job_traffic(draft: Draft, done: "Done", size: int) -> None:
    """What a job's devices sent and were sent; ``size``: devices a round."""
    from metaem_core.federated.encoding import Traffic
    from tasks.models.train import write_spans

    epochs, trained = sum(each or 0 for each in done["epochs"]), done["trained"]
    epoch = Traffic(trained["down"] // max(epochs, 1), trained["up"] // max(epochs, 1))
    write_spans(draft, done["devices"], size, epochs, epoch, Traffic(**done["evaluated"]))


def run_job(job: "Job", connection: Connection) -> "Done":
    """Submit the job and wait for its end.

    Raises:
        FederationFailed: it could not be submitted, failed, or is gone.
    """
    told = _flwr(connection, "run", str(APP), "--run-config", f'job="{job.folder}"')
    run_id, asked = str(told["run-id"]), time.monotonic()
    try:
        while (done := job.done) is None:
            if (why := job.failure) is not None:
                raise FederationFailed(why)
            if time.monotonic() > asked + ALIVE:
                asked = time.monotonic()
                _require_running(connection, run_id, job)
            if (epoch := job.progress) is not None:
                advance(epoch["epoch"], epoch["of"], note=f"validation RMSE {epoch['rmse']:.4f}")
            time.sleep(POLL)
        return done
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
        told = json.loads(done.stdout[done.stdout.index("{") :])
    except ValueError:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["(no word)"]
        raise FederationFailed(f"flwr {command}: {last[0]}") from None
    if not told.get("success", False):
        raise FederationFailed(f"flwr {command}: {told.get('error-message', told)}")
    return cast(dict[str, Any], told)
