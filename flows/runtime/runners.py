"""What runs a flow's stages: processes on this machine, a Dask cluster, a Ray cluster.

Threads of one process do not speed up trainings of many small operations: they share one
interpreter lock.
"""

import socket
from typing import Any

from prefect.task_runners import TaskRunner

from flows.runtime.dask import dask_workers

KINDS = ("local", "dask", "ray")


def task_runner(kind: str, workers: int, address: str | None = None) -> TaskRunner[Any]:
    """``workers`` processes here, or whatever workers the cluster at ``address`` has.

    Raises:
        ValueError: no such kind; an address without a cluster, or the reverse; no Ray installed.
        OSError: no cluster answers.
    """
    if kind not in KINDS:
        raise ValueError(f"no runner {kind!r}: use one of {', '.join(KINDS)}")
    if (kind == "local") != (address is None):
        raise ValueError(f"the runner {kind!r} and the address {address!r} do not go together")
    if address is None or kind == "dask":
        return dask_workers(workers, address and _answering(address))
    try:
        from flows.runtime.ray import RayWorkers
    except ModuleNotFoundError as error:
        raise ValueError("the runner 'ray' needs: pip install 'metaem[cluster]'") from error
    return RayWorkers(address=_answering(address), init_kwargs={"log_to_driver": False})


def _answering(address: str) -> str:
    """The address, once something listens there: Ray would look for it for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise OSError(f"no cluster answers at {address!r}: {error}") from error
    return address
