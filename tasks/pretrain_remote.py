"""Stage 1 on real devices: the job is handed to a running federation, and its result taken in."""

import json
import os
import secrets
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from metaem_core.methods.pretrain_config import PretrainConfig
from tasks.artifacts import ArtifactRef, Store
from tasks.caching import stage
from tasks.dealing import FEDERATION, require_dealt
from tasks.domains import read_domain, read_split, training_target
from tasks.progress import advance

if TYPE_CHECKING:
    from tasks.federation import Connection, Done, Job

APP = Path(__file__).with_name("flower_app")
LINK = "loopback"  # its name in the federation's home
POLL = 1.0  # seconds between looks at the job
ALIVE = 15.0  # seconds between questions whether the run is still there


@dataclass(frozen=True)
class RemoteConfig:
    """Which devices train, and when their rounds count."""

    pretrain: PretrainConfig
    domain: str
    dealt: str  # digest of who has a device
    quorum: float = 0.8
    largest: float = 1e4  # norm of a device's gradient beyond which it is left out


class FederationFailed(RuntimeError):
    """The federation did not finish the job; what it finished is kept for the next try."""


@stage("pretrain")
def pretrain_remote(
    store: Store, config: RemoteConfig, domain: ArtifactRef, split: ArtifactRef | None
) -> ArtifactRef:
    """Train a domain on the devices of the federation in the store's folder."""
    from metaem_core.federated.exchange import Traffic
    from metaem_core.methods.metaem_pretraining import Pretraining
    from tasks.federation import About, Connection, Job
    from tasks.models import write_model
    from tasks.training import forget, write_curve, write_spans

    require_dealt(store.root, config.domain, domain)
    known = read_domain(store, domain)
    ratings = known.ratings if split is None else training_target(known, read_split(store, split))
    work = Pretraining(config.pretrain, ratings)
    connection = Connection.read(store.root / FEDERATION)
    about = About(
        attempt=secrets.token_hex(8),
        domain=config.domain,
        nodes=connection.nodes,
        patience=connection.patience,
        quorum=config.quorum,
        largest=config.largest,
        config=asdict(config.pretrain),
    )
    job = Job.create(store.scratch / "job", about, *work.start())
    done = run_job(job, connection)
    job.load_into(work.training)
    with store.draft() as draft:
        write_model(draft, work.model(), known)
        write_curve(draft, work.training.curve())
        epochs, trained, evaluated = done["epochs"], done["trained"], done["evaluated"]
        epoch = Traffic(trained["down"] // max(epochs, 1), trained["up"] // max(epochs, 1))
        size = config.pretrain.cohort_size
        write_spans(draft, done["devices"], size, epochs, epoch, Traffic(**evaluated))
    forget(store)
    return draft.ref


def run_job(job: "Job", connection: "Connection") -> "Done":
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


def _require_running(connection: "Connection", run_id: str, job: "Job") -> None:
    state = str(_flwr(connection, "list", "--run-id", run_id)["runs"][0]["status"])
    if state.startswith("finished") and job.done is None and job.failure is None:
        raise FederationFailed(f"run {run_id} ended without a result: {state}")


def _flwr(connection: "Connection", command: str, *options: str) -> dict[str, Any]:
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
