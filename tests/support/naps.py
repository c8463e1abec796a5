"""A flow of short stages that note when they begin."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from prefect import flow
from prefect.settings import PREFECT_API_URL

from tasks.progress import advance
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import ArtifactSerializer, bind, stage

COUNT = 8


@dataclass(frozen=True)
class Nap:
    number: int
    seconds: float
    log: Path


@dataclass(frozen=True)
class About:
    pass


@stage("nap")
def nap(store: Store, config: Nap) -> ArtifactRef:
    with config.log.open("a") as log:
        log.write(f"{config.number} {os.getpid()}\n")
    if config.seconds < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    advance(0, 1, note=f"nap {config.number}")
    time.sleep(config.seconds)
    with store.draft() as draft:
        draft.write_json("n.json", config.number)
    return draft.ref


@stage("about")
def about(store: Store, config: About, before: ArtifactRef) -> ArtifactRef:
    import torch

    process = {
        "process": os.getpid(),
        "server": PREFECT_API_URL.value(),
        "threads": torch.get_num_threads(),
        "number": store.read_json(before, "n.json"),
    }
    with store.draft() as draft:
        draft.write_json("about.json", process)
    return draft.ref


@flow(validate_parameters=False, result_serializer=ArtifactSerializer())
def naps(
    store: Store, log: Path, seconds: float = 1.0, count: int = COUNT
) -> list[tuple[ArtifactRef, str]]:
    """Every nap's artifact and last state."""
    futures = [
        bind(nap, store, f"nap {number}").submit(store, Nap(number, seconds, log))
        for number in range(count)
    ]
    return [(future.result(), future.state.name) for future in futures]
