"""Stages in processes here and on a cluster: reuse, progress, and what a killed process costs."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import dask
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from flows.runtime.dask import WorkerLost
from flows.runtime.runners import task_runner
from tasks.progress import Finished, Step, listening
from tasks.sources.read import BadRatings
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.remote import Shared
from tasks.store.stage import bind
from tests.support.naps import COUNT, About, Nap, about, nap, naps
from tests.support.waiting import ProcessTree, alive, wait_until

pytestmark = pytest.mark.night

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}

PROGRAM = """
import sys
from pathlib import Path
from tests.support.naps import naps
from flows.runtime.runners import task_runner
from tasks.store.artifacts import Store

if __name__ == "__main__":
    root = Path(sys.argv[1])
    run = naps.with_options(task_runner=task_runner("local", 2))
    print(*(state for _, state in run(Store(root / "store"), root / "log")))
"""


def begun(log: Path) -> list[tuple[int, int]]:
    """Which naps began, in which process."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [(int(number), int(pid)) for number, pid in map(str.split, lines)]


@flow(validate_parameters=False)
def chain(store: Store, log: Path) -> ArtifactRef:
    """A nap, then what its successor knows of itself."""
    first = bind(nap, store, "first").submit(store, Nap(7, 0, log))
    second = bind(about, store, "second").submit(store, About(), first)
    first.result()
    return second.result()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_stages_run_in_processes_of_one_thread_and_report_progress(
    prefect_server: None, store: Store, log: Path
) -> None:
    run = chain.with_options(task_runner=task_runner("local", 1))
    heard: list[Step | Finished] = []
    with listening(heard.append):
        described = store.read_json(run(store, log), "about.json")
    assert isinstance(described, dict)
    assert described["process"] != os.getpid()
    assert (described["threads"], described["number"]) == (1, 7)
    assert described["server"].rstrip("/") == PREFECT_API_URL.value().rstrip("/")
    first = [Step("first", 0, 1, "epoch", "nap 7"), Finished("first", reused=False)]
    assert heard == [*first, Finished("second", reused=False)]
    with get_client(sync_client=True) as client:
        states = [run.state_name for run in client.read_task_runs() if run.name == "second"]
    assert states == ["Completed"]


def test_a_killed_worker_costs_the_stage_it_ran(
    prefect_server: None, store: Store, log: Path
) -> None:
    killed: list[tuple[int, int]] = []

    def kill() -> None:
        wait_until(lambda: len(begun(log)) >= 4, "the fourth nap")
        killed.append(begun(log)[-1])
        os.kill(killed[0][1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    run = naps.with_options(task_runner=task_runner("local", 2))
    heard: list[Step | Finished] = []
    with listening(heard.append):
        results = run(store, log)
    killer.join()
    assert [store.read_json(ref, "n.json") for ref, _ in results] == [*range(COUNT)]
    times = Counter(number for number, _ in begun(log))
    assert times == Counter(range(COUNT)) + Counter([killed[0][0]])
    assert len({pid for _, pid in begun(log)}) == 3
    assert Counter(event.label for event in heard if isinstance(event, Finished)) == Counter(
        f"nap {number}" for number in range(COUNT)
    )
    assert [state for _, state in run(store, log)] == ["Cached"] * COUNT
    assert len(begun(log)) == COUNT + 1


def test_a_killed_flow_goes_on_where_it_stopped(
    prefect_server: None, tmp_path: Path, log: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), str(tmp_path)]
    environment = ENVIRONMENT | {"PREFECT_API_URL": PREFECT_API_URL.value()}
    with ProcessTree(command, environment, stdout=subprocess.PIPE) as work:
        wait_until(lambda: len(begun(log)) >= 5, "the fifth nap")
        work.kill()
        workers = {pid for _, pid in begun(log)}
        assert len(workers) == 2
        wait_until(lambda: not any(map(alive, workers)), "the end of the workers")
    running = {number for number, _ in begun(log)[-2:]}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    finished = {number for number, _ in begun(log)[:5]} - running
    times = Counter(number for number, _ in begun(log))
    assert set(times) == {*range(COUNT)}
    assert {times[number] for number in finished} == {1}
    assert {number for number in times if times[number] > 1} <= running
    assert max(times.values()) <= 2
    assert done.stdout.split().count("Cached") >= len(finished)
    assert done.stderr == ""


def test_what_a_stage_raises_comes_whole_out_of_its_process(tmp_path: Path) -> None:
    raised = BadRatings(tmp_path / "r.csv", {"blank": 1}, [(3, "blank", "a,,5")])
    arrived = pickle.loads(pickle.dumps(raised))
    assert (str(arrived), arrived.details()) == (str(raised), raised.details())


def test_a_stage_that_kills_every_worker_ends_the_flow(
    prefect_server: None, store: Store, log: Path
) -> None:
    run = naps.with_options(task_runner=task_runner("local", 1))
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        pytest.raises(WorkerLost, match="every worker that began it died"),
    ):
        run(store, log, seconds=-1, count=1)
    assert len(begun(log)) == 2


@pytest.fixture
def cluster(tmp_path: Path, prefect_server: None) -> Iterator[str]:
    """A scheduler and two workers, each in a folder of its own, as if on three machines."""
    address_file = tmp_path / "scheduler.json"
    environment = ENVIRONMENT | {"OMP_NUM_THREADS": "2"}
    with ExitStack() as running:

        def start(*words: str, folder: str) -> None:
            (tmp_path / folder).mkdir()
            command = [sys.executable, "-m", "dask", *words, "--scheduler-file", str(address_file)]
            where, silent = tmp_path / folder, subprocess.DEVNULL
            running.enter_context(ProcessTree(command, environment, cwd=where, stderr=silent))

        start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", folder="s")
        for name in ("one", "two"):
            start("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", folder=name)
        wait_until(address_file.exists, "the scheduler")
        yield json.loads(address_file.read_text())["address"]


def test_machines_of_a_cluster_share_results_by_the_shared_place(
    cluster: str, tmp_path: Path, log: Path
) -> None:
    """And a stage has one thread, though the workers were started with two."""
    shared = Shared((tmp_path / "shared").as_uri())
    store = Store(Path("store"), shared=shared)  # in each worker's own folder
    results = naps.with_options(task_runner=task_runner("dask", 1, cluster))(store, log, 0.3)
    here = Store(tmp_path / "here", shared=shared)
    assert [here.read_json(ref, "n.json") for ref, _ in results] == [*range(COUNT)]
    counts = [len([*(tmp_path / name / "store" / "nap").iterdir()]) for name in ("one", "two")]
    assert min(counts) >= 1
    assert sum(counts) == COUNT
    again = naps.with_options(task_runner=task_runner("local", 1))(here, log, 0.3)
    assert [ref for ref, _ in again] == [ref for ref, _ in results]
    assert len(begun(log)) == COUNT
    described = chain.with_options(task_runner=task_runner("dask", 1, cluster))(store, log)
    about_it = here.read_json(described, "about.json")
    assert isinstance(about_it, dict)
    assert about_it["threads"] == 1


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "127.0.0.1:9", "nowhere.invalid:1", "x"])
def test_an_address_where_nothing_listens_is_an_error(address: str) -> None:
    with pytest.raises(OSError, match=f"no cluster answers at '{address}'"):
        task_runner("dask", 1, address)


@pytest.mark.parametrize(("kind", "address"), [("local", "tcp://x:1"), ("dask", None)])
def test_an_address_goes_with_a_cluster(kind: str, address: str | None) -> None:
    with pytest.raises(ValueError, match="do not go together"):
        task_runner(kind, 1, address)


def test_ray_names_the_extra_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prefect_ray", None)
    with pytest.raises(ValueError, match=r"pip install 'metaem\[cluster\]'"):
        task_runner("ray", 1, "127.0.0.1:6379")
