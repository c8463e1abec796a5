"""F03, F04, F14: servers that are killed or misbehave, and ports that are taken."""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.faults.command import ROOT, Product, arguments, metaem
from tests.faults.prefect import prefect_server
from tests.faults.processes import Ended, run
from tests.faults.sharing import logged_once
from tests.faults.suite import Suite, refusal
from tests.faults.tally import Injection
from tests.support.mlflow_server import mlflow_server
from tests.support.unruly import MANNERS, unruly
from tests.support.waiting import ProcessTree, deadline, wait_until


def killed_servers(suite: Suite) -> Iterator[Injection]:
    """F03: Prefect's server is killed while a stage trains."""
    product = suite.product
    for kind in ("temporary", "own"):
        with ExitStack() as stack:
            url, server = "", None
            if kind == "own":
                home = product.folder / "prefect"
                url, server = stack.enter_context(prefect_server(home))
            store = product.empty()
            work = started(product, store, url)
            wait_until(lambda s=store: any(s.glob("checkpoints/**/*.safetensors")), "training")
            pids = [server.pid] if server is not None else servers_of(work.pid)
            assert pids, "no server"
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            first = ended(product, work)
        wrong = refusal(first)
        yield product.mend("F03", f"{kind} server killed", store, first, wrong, whole=True)


def started(product: Product, store: Path, url: str) -> ProcessTree:
    """The command in an interpreter of its own."""
    environment = os.environ | {
        "PREFECT_API_URL": url,
        "PREFECT_HOME": str(product.folder / "home"),
    }
    with (product.folder / "log").open("wb") as log:
        words = [sys.executable, "-m", "flows.cli.main", *arguments(store)]
        return ProcessTree(words, environment, cwd=ROOT, stdout=log, stderr=log)


def ended(product: Product, work: ProcessTree) -> Ended:
    began = time.monotonic()
    with work:
        code = work.wait(deadline(600))
    return Ended(code, time.monotonic() - began, (product.folder / "log").read_text())


def servers_of(parent: int) -> list[int]:
    """Prefect servers that the process started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            mine = int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent
            if mine and b"prefect.server.api.server" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it has ended
            continue
    return found


def bad_tracking(suite: Suite) -> Iterator[Injection]:
    """F04: MLflow's server is down, dies, fails, hangs, forgets; then it behaves."""
    product = suite.product
    with mlflow_server(product.folder / "mlflow") as real:
        for manner in MANNERS:
            for turn in suite.some(1):
                spare = suite.draw.randint(0, 20) if turn or manner != "fail" else 0
                yield badly_tracked(product, real, manner, spare)


def badly_tracked(product: Product, real: str, manner: str, spare: int) -> Injection:
    """A complete store is logged to a server that answers ``spare`` requests well."""
    store = product.copy()
    with unruly(real) as server:
        server.be(manner, spare)
        words = ("--set", f"tracking_uri={server.url}")
        first = product.run(store, *words)
        wrong = "" if first.code == 0 else f"it ended with {first.code}: {first.told[-500:]}"
        waited = first.seconds - product.reused
        if waited > deadline(90):  # 30 of waiting, the import of mlflow, and a busy machine
            wrong = f"it waited for {waited:.0f} s"
        server.be("behave")
        again = product.run(store, *words)
        told = wrong or logged_once(product, store, real)
        run(lambda: forgotten(real), product.folder / "log-mlflow")
    return Injection("F04", f"{manner} after {spare} requests", told, again.seconds, max(waited, 0))


def forgotten(real: str) -> None:
    """Delete what was logged, for the next to begin with nothing."""
    from mlflow import MlflowClient

    client = MlflowClient(real)
    experiment = client.get_experiment_by_name("movie-music")
    if experiment is not None:
        for each in client.search_runs([experiment.experiment_id]):
            client.delete_run(each.info.run_id)


def taken_ports(suite: Suite) -> Iterator[Injection]:
    """F14: somebody listens where Prefect and MLflow usually do."""
    product = suite.product
    with ExitStack() as stack:
        for port in (4200, 5000, *range(8000, 8300)):
            taken = stack.enter_context(socket.socket())
            try:
                taken.bind(("127.0.0.1", port))
                taken.listen()
            except OSError:
                continue  # then somebody else does
        store = product.copy()
        done = ended(product, started(product, store, ""))
        wrong = "" if done.code == 0 else f"it ended with {done.code}: {done.told[-500:]}"
        yield Injection("F14", "300 ports of Prefect's thousand, 4200, 5000", wrong, done.seconds)
        shown = run(lambda: metaem(["ui", "--store", str(store)]), product.folder / "log")
        wrong = refusal(shown) or ("" if "--port" in shown.told and shown.code else shown.told)
        yield Injection("F14", "metaem ui on a port in use", wrong, shown.seconds)
