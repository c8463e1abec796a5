"""F03: servers that are killed."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.faults.prefect import prefect_server
from tests.faults.suite import Suite, refusal
from tests.faults.tally import Injection
from tests.support.waiting import wait_until


def killed_servers(suite: Suite) -> Iterator[Injection]:
    """F03: Prefect's server is killed while a stage trains."""
    product = suite.product
    for kind in ("temporary", "own"):
        with ExitStack() as stack:
            url, server = "", None
            if kind == "own":
                url, server = stack.enter_context(prefect_server(product.folder / "prefect"))
            store = product.empty()
            home = str(product.folder / "home")
            work = product.interpreter(store, PREFECT_API_URL=url, PREFECT_HOME=home)
            wait_until(lambda s=store: any(s.glob("checkpoints/**/*.safetensors")), "training")
            pids = [server.pid] if server is not None else servers_of(work.pid)
            assert pids, "no server"
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            first = work.wait()
        wrong = refusal(first)
        yield product.mend("F03", f"{kind} server killed", store, first, wrong, whole=True)


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
