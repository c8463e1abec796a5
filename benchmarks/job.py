"""Where the time of the whole job goes, at the size of Task 1 in Table 2.

    python -m benchmarks.job [--scale table2] [--repeats 3]

One ``metaem run`` in this process, from generating the ratings to the report, with a clock around
the functions of each kind of work: what a stage hands over (writing, hashing, verifying and reading
artifacts and checkpoints, computing keys), MLflow, rounds of training and their validations. Stages
run side by side: rounds and validations are set against the seconds of all stages, hand-over,
summed over threads, and MLflow against the clock. Then the command itself, all cached, beside a
bare Prefect flow with as many tasks whose results are there already, each with a temporary server.
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from benchmarks.history import record
from flows.cli.main import ENVIRONMENT

P = ParamSpec("P")
R = TypeVar("R")
FLOOR = """
import sys
from prefect import flow, task
from prefect.cache_policies import INPUTS

@task(cache_policy=INPUTS, persist_result=True)
def stage(number):
    return number

@flow
def bare(count):
    return [future.result() for future in [stage.submit(n) for n in range(count)]]

bare(int(sys.argv[1]))
"""


class Clocks:
    """Seconds by kind of work; of nested work the outermost counts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inside = threading.local()

    def around(self, kind: str, owner: object, *names: str) -> None:
        for name in names:
            setattr(owner, name, self._timed(kind, getattr(owner, name)))

    def _timed(self, kind: str, work: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(work)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            if getattr(self._inside, "busy", False):
                return work(*args, **kwargs)
            self._inside.busy, begin = True, time.perf_counter()
            try:
                return work(*args, **kwargs)
            finally:
                self._inside.busy = False
                self.seconds[kind] += time.perf_counter() - begin

        return timed


def profiled(scale: str, store: Path) -> None:
    """One run in this process; prints what the parent reads."""
    from flows import experiment
    from flows.settings import read_settings
    from metaem_core.federated.rounds import SimulatedRounds
    from metaem_core.methods.metaem.mapping import MappingTraining
    from metaem_core.methods.metaem.pretraining import Pretraining
    from tasks.store.artifacts import Draft, Store
    from tasks.store.checkpoints import Checkpoint
    from tasks.store.stage import StagePolicy

    clocks = Clocks()
    reads = ("verify", "read_frame", "read_tensors", "read_json", "use")
    clocks.around("hand-over", Store, *reads)
    clocks.around("hand-over", Draft, "write_frame", "write_tensors", "write_json", "publish")
    clocks.around("hand-over", StagePolicy, "compute_key", "origin")
    clocks.around("hand-over", Checkpoint, "save", "load")
    clocks.around("MLflow", experiment, "track")
    clocks.around("rounds", SimulatedRounds, "round")
    for stage in (Pretraining, MappingTraining):
        clocks.around("validations", stage, "_validate")
    settings = read_settings(
        {"config": None, "store": store, "betas": "0.2", "seeds": "1"},
        [f"synthetic.config.scale={scale}"],
    )
    begin = time.perf_counter()
    experiment.run(settings)
    wall = time.perf_counter() - begin
    manifests = [json.loads(path.read_text()) for path in store.glob("*/*/manifest.json")]
    stages = sum(manifest["seconds"] for manifest in manifests)
    print(json.dumps({**clocks.seconds, "wall": wall, "stages": stages, "count": len(manifests)}))


def clocked(command: list[str], environment: dict[str, str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, env=environment, capture_output=True)
    return time.perf_counter() - begin


def cached(scale: str, store: Path, count: int, repeats: int) -> tuple[float, float]:
    """Seconds of the command with nothing to do, and of bare Prefect; medians, taken in turn."""
    metaem = str(Path(sys.executable).with_name("metaem"))
    rerun = [metaem, "run", "--betas", "0.2", "--seeds", "1", "--store", str(store)]
    rerun += ["--set", f"synthetic.config.scale={scale}"]
    floor = [sys.executable, "-c", FLOOR, str(count)]
    environment = {**os.environ, **ENVIRONMENT}
    mine, bare = (
        {**environment, "PREFECT_HOME": str(store.parent / home)} for home in ("mine", "bare")
    )
    clocked(rerun, mine)
    clocked(floor, bare)
    pairs = [(clocked(rerun, mine), clocked(floor, bare)) for _ in range(repeats)]
    ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
    return ours, theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scale", default="table2")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--profiled", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.profiled:
        return profiled(asked.scale, asked.profiled)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        command = [sys.executable, "-m", "benchmarks.job", "--scale", asked.scale]
        command += ["--profiled", str(store)]
        environment = {**os.environ, **ENVIRONMENT}
        done = subprocess.run(
            command, check=True, env=environment, stdout=subprocess.PIPE, text=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        ours, prefect = cached(asked.scale, store, found["count"], asked.repeats)
    wall, stages = found["wall"], found["stages"]
    whole = {"rounds": stages, "validations": stages, "hand-over": wall, "MLflow": wall}
    shares = {kind: found[kind] / seconds for kind, seconds in whole.items()}
    for kind, seconds in whole.items():
        print(f"{kind:12s} {found[kind]:7.1f} s  {shares[kind]:6.1%} of {seconds:.0f} s")
    print(f"cached {ours:.1f} s, {found['count']} tasks of bare Prefect {prefect:.1f} s")
    record("job", scale=asked.scale, wall=wall, **shares, cached=ours, prefect=prefect)


if __name__ == "__main__":
    main()
