"""A grid of real pretraining stages on threads and on processes, one and two at a time.

    python benchmarks/runners.py [--kinds processes threads] [--stages 16] [--repeats 2]

Each line is one grid from the first submission to the last result, on workers that have trained a
little before; starting them is given apart. "Own" are the processor seconds of this program and its
workers, "others" those of everything else: where there are any, compare "own", not the clock.
"""

import argparse
import os
import tempfile
import time
from dataclasses import astuple, dataclass
from itertools import product
from pathlib import Path
from typing import Any

os.environ |= {
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "OMP_NUM_THREADS": "1",
}

import psutil
from prefect import flow
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.testing.utilities import prefect_test_harness

from flows.runtime.runners import task_runner
from metaem_core.config.pretrain import PretrainConfig
from tasks.sources.synthetic import Synthetic
from tasks.stages.download import DownloadRequest, download
from tasks.stages.filter import FilterConfig, filter_ratings
from tasks.stages.pretrain import pretrain
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import bind


@dataclass(frozen=True)
class Taken:
    """Seconds: of the grid, of the start, and of processors: our own, others', idle."""

    grid: float
    start: float
    own: float
    others: float
    idle: float


@flow(validate_parameters=False)
def grid(store: Store, domain: ArtifactRef, stages: int, workers: int, epochs: int) -> Taken:
    """Train the domain with as many seeds as there are stages."""

    def trained(count: int, config: PretrainConfig) -> None:
        runs = [
            bind(pretrain, store, f"seed {seed}").submit(
                store, PretrainConfig(epochs=config.epochs, patience=99, seed=seed), domain, None
            )
            for seed in range(count)
        ]
        for run in runs:
            run.result()

    began = time.perf_counter()
    trained(2 * workers, PretrainConfig(epochs=1))
    warm, before = time.perf_counter(), processors()
    trained(stages, PretrainConfig(epochs=epochs))
    end, after = time.perf_counter(), processors()
    own, busy, idle = (now - then for now, then in zip(after, before, strict=True))
    return Taken(end - warm, warm - began, own, busy - own, idle)


def processors() -> tuple[float, float, float]:
    """Processor seconds so far: of this program and its workers, of all programs, idle ones."""
    this = psutil.Process()
    own = sum(
        each.cpu_times().user + each.cpu_times().system for each in (this, *this.children(True))
    )
    every = psutil.cpu_times()
    idle = every.idle + every.iowait
    return own, sum(every) - every.guest - every.guest_nice - idle, idle


def runner(kind: str, workers: int) -> TaskRunner[Any]:
    if kind == "threads":
        return ThreadPoolTaskRunner(max_workers=workers)
    return task_runner("local", workers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--stages", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--kinds", nargs="+", default=["processes", "threads"])
    options = parser.parse_args()
    print("kind       workers   grid s  start s    own s others s   idle s  load", flush=True)
    best: dict[tuple[str, int], float] = {}
    with tempfile.TemporaryDirectory() as folder, prefect_test_harness(server_startup_timeout=120):
        for repeat in range(options.repeats):
            for kind, workers in product(options.kinds, (1, 2)):
                store = Store(Path(folder) / f"{kind}{workers}-{repeat}")
                raw = download.fn(store, DownloadRequest("movie", Synthetic()))
                domain = filter_ratings.fn(store, FilterConfig(), raw)
                run = grid.with_options(task_runner=runner(kind, workers))
                taken = run(store, domain, options.stages, workers, options.epochs)
                best[kind, workers] = min(taken.grid, best.get((kind, workers), float("inf")))
                seconds = "".join(f"{value:9.1f}" for value in astuple(taken))
                print(f"{kind:10s}{workers:8d}{seconds}{os.getloadavg()[0]:6.1f}", flush=True)
    for kind in options.kinds:
        print(f"two {kind} against one: {best[kind, 1] / best[kind, 2]:.2f} times as fast")


if __name__ == "__main__":
    main()
