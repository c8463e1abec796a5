"""Reuse of stage results: what a key covers, and what happens to a damaged artifact."""

import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import indent
from types import ModuleType
from typing import Any

import pytest
from prefect import flow

from tasks.progress import Finished, Step, listening
from tasks.sources.fetch import CHUNK
from tasks.sources.files import Files
from tasks.stages.download import DownloadRequest, download
from tasks.stages.report import report
from tasks.stages.statistics import statistics
from tasks.stages.visualise import visualise
from tasks.store import manifests, source_digest
from tasks.store.artifacts import ArtifactRef, CorruptArtifact, Store
from tasks.store.records import LOCKS, RECORDS, encode_record
from tasks.store.source_digest import EditedMeanwhile, code_digest
from tasks.store.stage import ChangedMeanwhile, Stage, StagePolicy, bind, provenance
from tests.support.damage import DAMAGES
from tests.support.waiting import ProcessTree, deadline, wait_until

ROOT = Path(__file__).parents[2]
STAGE = """
from dataclasses import dataclass
from pathlib import Path
import time
from tasks.progress import advance
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage

@dataclass(frozen=True)
class Config:
    value: int | Path = 1

@stage({name!r})
def work(store: Store, config: Config{inputs}) -> ArtifactRef:
{body}
    with store.draft() as draft:
        draft.write_json("n.json", {result})
    return draft.ref
"""


def source(name: str, body: str, result: str, inputs: str = "") -> str:
    """A module of one stage that writes a number."""
    return STAGE.format(name=name, body=indent(body, "    "), result=result, inputs=inputs)


BEFORE, READ = ", before: ArtifactRef", 'store.read_json(before, "n.json")'
CHAIN = {
    "__init__": "",
    "arithmetic": "def add(a: int, b: int) -> int:\n    return a + b\n",
    "unrelated": "VALUE = 1\n",
    "number": source("number", "advance(1, 2)", "config.value"),
    "plus": source(
        "plus", "from planted.arithmetic import add", f"add({READ}, config.value)", BEFORE
    ),
    "parity": source("parity", "", f"{READ} % 2", BEFORE),
}


def forget() -> None:
    """Let the source digest look at every file anew."""
    for name in ("_source", "_templates", "_import_statements", "_read"):
        getattr(source_digest, name).cache_clear()


@dataclass(frozen=True)
class Planted:
    """A package of three stages, number -> plus -> parity, in real files."""

    folder: Path

    def stage(self, name: str) -> ModuleType:
        return importlib.import_module(f"planted.{name}")

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / f"{name}.py"
        path.write_text(path.read_text().replace(old, new))

    def restart(self) -> None:
        """Run from now on what the files say, as a new process would."""
        forget()
        importlib.invalidate_caches()
        for name in [name for name in sys.modules if name.partition(".")[0] == "planted"]:
            del sys.modules[name]


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Planted]:
    folder = tmp_path / "code" / "planted"
    folder.mkdir(parents=True)
    for name, source in CHAIN.items():
        (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(folder.parent)
    importlib.invalidate_caches()
    package = Planted(folder)
    yield package
    package.restart()


@dataclass(frozen=True)
class Outcome:
    states: str
    refs: tuple[ArtifactRef, ...]


Run = Callable[..., Outcome]


@pytest.fixture
def run(planted: Planted, store: Store, prefect_server: None) -> Run:
    """The chain as a flow: the states' second letters (cAched, cOmpleted) and addresses."""

    def run(value: int = 1, refresh: tuple[str, ...] = (), store: Store = store) -> Outcome:
        number, plus, parity = (planted.stage(name) for name in ("number", "plus", "parity"))

        @flow(validate_parameters=False)
        def chain() -> Outcome:
            first = bind(number.work, store, "n", refresh).submit(store, number.Config(value))
            second = bind(plus.work, store, "p", refresh).submit(store, plus.Config(), first)
            third = bind(parity.work, store, "q", refresh).submit(store, parity.Config(), second)
            futures = (first, second, third)
            refs = tuple(future.result() for future in futures)
            return Outcome("".join(future.state.name[1] for future in futures), refs)

        outcome: Outcome = chain()
        return outcome

    return run


def test_results_are_reused_and_each_damage_is_repaired_alone(run: Run, store: Store) -> None:
    first = run()
    assert first.states == "ooo"
    assert run() == Outcome("aaa", first.refs)
    for position, damage in enumerate(DAMAGES):
        damage(store.file(first.refs[position], "n.json"))
        expected = "".join("o" if at == position else "a" for at in range(3))
        assert run() == Outcome(expected, first.refs)
        store.verify(first.refs[position])
    shutil.rmtree(store.folder(first.refs[1]))
    assert run() == Outcome("aoa", first.refs)


def test_a_changed_config_recomputes_only_until_the_bytes_are_equal_again(run: Run) -> None:
    first = run(value=1)
    changed = run(value=3)
    assert changed.states == "ooo"
    assert changed.refs[2] == first.refs[2]
    assert run(value=1) == Outcome("aaa", first.refs)


def test_edited_code_recomputes_its_stage_and_nothing_with_equal_inputs(
    run: Run, planted: Planted
) -> None:
    first = run()
    planted.edit("arithmetic", "a + b", "b + a")
    planted.restart()
    assert run() == Outcome("aoa", first.refs)
    planted.edit("arithmetic", "b + a", "b + a + 2")
    planted.restart()
    second = run()
    assert second.states == "aoo"
    assert second.refs[1] != first.refs[1]
    planted.edit("unrelated", "1", "2")
    planted.restart()
    assert run() == Outcome("aaa", second.refs)


def test_code_edited_while_the_process_runs_neither_counts_nor_takes_part(
    run: Run, planted: Planted
) -> None:
    first = run()
    planted.edit("arithmetic", "a + b", "a + b + 2")
    assert run() == Outcome("aaa", first.refs)
    assert run(refresh=("plus",)) == Outcome("aoa", first.refs)
    planted.restart()
    assert run().refs[1] != first.refs[1]


def test_code_edited_before_it_was_imported_is_refused(planted: Planted, store: Store) -> None:
    number, plus = planted.stage("number"), planted.stage("plus")
    before = number.work.fn(store, number.Config())
    planted.edit("arithmetic", "a + b", "a + b + 2")
    with pytest.raises(EditedMeanwhile, match=r"planted\.arithmetic was edited"):
        plus.work.fn(store, plus.Config(), before)


def test_a_template_is_part_of_the_source(planted: Planted, store: Store) -> None:
    page = planted.folder / "templates" / "page.html"
    page.parent.mkdir()
    page.write_text("one")
    planted.restart()
    number, before = planted.stage("number"), code_digest("planted.number")
    page.write_text("two")
    assert code_digest("planted.number") == before
    with pytest.raises(EditedMeanwhile, match=r"planted/templates/page\.html was edited"):
        number.work.fn(store, number.Config())
    planted.restart()
    assert code_digest("planted.number") != before
    number = planted.stage("number")
    number.work.fn(store, number.Config())


def test_refresh_recomputes_the_named_stage_alone(run: Run) -> None:
    first = run()
    assert run(refresh=("plus",)) == Outcome("aoa", first.refs)
    heard: list[Step | Finished] = []
    with listening(heard.append):
        assert run(refresh=("number",)) == Outcome("oaa", first.refs)
    assert Step("n", 1, 2, "epoch", "") in heard, "the stage's function was not called"


def test_a_store_that_was_moved_is_still_full(run: Run, store: Store, tmp_path: Path) -> None:
    first = run()
    moved = Store(store.root.rename(tmp_path / "moved"))
    assert run(store=moved) == Outcome("aaa", first.refs)
    assert not store.root.exists()


def test_a_record_that_names_code_to_read_it_with_is_not_obeyed(
    run: Run, store: Store, planted: Planted
) -> None:
    first = run()
    (planted.folder / "mischief.py").write_text(
        "def obey(what):\n    open(__file__ + '.ran', 'w').close()"
    )
    importlib.invalidate_caches()
    for path in (store.root / RECORDS).iterdir():
        record = json.loads(path.read_text())
        record["metadata"]["serializer"] = {
            "type": "json",
            "object_decoder": "planted.mischief.obey",
        }
        path.write_text(json.dumps(record))
    assert run() == Outcome("ooo", first.refs)
    assert not (planted.folder / "mischief.py.ran").exists()


def test_a_record_in_the_place_of_another_is_not_believed(run: Run, store: Store) -> None:
    first, second = run(value=1), run(value=2)
    assert first.refs[1] != second.refs[1]
    one, other = (store.root / RECORDS).glob("plus-*")
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    assert run(value=1).refs == first.refs
    assert run(value=2).refs == second.refs


BAD_RECORDS: list[bytes | dict[str, Any]] = [
    *(b"", b"{", b"4194303", b'{"metadata": 7, "result": "7"}'),
    *({"digest": "0" * 64}, {"size": 99}),  # of artifacts that are not there
]


@pytest.mark.parametrize("bad", BAD_RECORDS)
def test_a_bad_record_is_written_again(
    planted: Planted, store: Store, bad: bytes | dict[str, Any]
) -> None:
    number = planted.stage("number")
    ref = number.work.fn(store, number.Config())
    (record,) = (store.root / RECORDS).iterdir()
    whole = record.read_bytes()
    content = bad if isinstance(bad, bytes) else encode_record(record.name, replace(ref, **bad))
    for path in (record, store.root / LOCKS / f".{record.name}.lock"):
        path.write_bytes(content)
    assert number.work.fn(store, number.Config()) == ref
    assert record.read_bytes() == whole


def test_prefect_and_a_direct_call_leave_the_same_record(
    run: Run, planted: Planted, store: Store, tmp_path: Path
) -> None:
    run()
    number, other = planted.stage("number"), Store(tmp_path / "other")
    number.work.fn(other, number.Config())
    (record,) = (other.root / RECORDS).iterdir()
    assert (store.root / RECORDS / record.name).read_bytes() == record.read_bytes()


def test_a_file_edited_while_it_is_read_is_not_taken_for_what_it_was(
    store: Store, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.csv"
    before, after = ("\n".join([f"u{n},i{n},{star}" for n in range(200_000)]) for star in (1, 5))
    assert len(before) > 2 * CHUNK
    mine.write_text(before)
    request = DownloadRequest("movie", Files({"movie": str(mine)}))
    with (
        listening(lambda news: mine.write_text(after)),
        pytest.raises(ChangedMeanwhile, match="'download' reads was changed while it ran"),
    ):
        download.fn(store, request)
    mine.write_text(before)
    assert store.file(download.fn(store, request), "mine.csv").read_text() == before


def test_a_stage_refuses_damaged_inputs(planted: Planted, store: Store) -> None:
    number, plus = planted.stage("number"), planted.stage("plus")
    before = number.work.fn(store, number.Config())
    store.file(before, "n.json").write_text("7")
    with pytest.raises(CorruptArtifact):
        plus.work.fn(store, plus.Config(), before)


def test_the_manifest_says_what_a_result_was_made_from(planted: Planted, store: Store) -> None:
    number, plus = planted.stage("number"), planted.stage("plus")
    before = number.work.fn(store, number.Config(5))
    origin = store.manifest(plus.work.fn(store, plus.Config(2), before)).provenance
    assert origin.inputs == {"before": (before,)}
    assert origin.config == {"value": 2}
    assert origin.code == code_digest("planted.plus")


def test_configs_must_be_plain(planted: Planted, store: Store) -> None:
    config = planted.stage("number").Config(object())
    with pytest.raises(TypeError, match="no stable text"):
        provenance("number", "planted.number", {"store": store, "config": config})


def test_another_version_of_a_library_is_another_key(
    planted: Planted, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"store": store, "config": planted.stage("number").Config()}
    before = provenance("number", "planted.number", arguments)
    (tmp_path / "polars-99.0.dist-info").mkdir()
    (tmp_path / "polars-99.0.dist-info" / "METADATA").write_text("Name: polars\nVersion: 99.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert provenance("number", "planted.number", arguments) == before
    manifests._versions.cache_clear()
    assert provenance("number", "planted.number", arguments).key != before.key
    monkeypatch.undo()
    manifests._versions.cache_clear()
    assert provenance("number", "planted.number", arguments) == before


@pytest.mark.parametrize(
    ("stage", "libraries"),
    [(report, {"matplotlib", "scipy"}), (visualise, {"scikit-learn"}), (statistics, set[str]())],
)
def test_a_library_that_few_stages_calculate_with_is_in_their_keys(
    stage: "Stage[...]", libraries: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = stage.cache_policy
    assert isinstance(policy, StagePolicy)
    before, versions = policy.origin({}).key, manifests._versions()
    for library in ("matplotlib", "scikit-learn", "scipy"):
        monkeypatch.setattr(manifests, "_versions", lambda new=library: {**versions, new: "99.0"})
        assert (policy.origin({}).key != before) == (library in libraries)


SLOW = source(
    "slow",
    """
with (config.value / "log").open("a") as log:
    log.write("began ")
while not (config.value / "go").exists():
    time.sleep(0.01)
""",
    "1",
)
WORK = """
import sys
from pathlib import Path
from planted.slow import Config, work
from tasks.store.artifacts import Store
print("ready", flush=True)
print(work.fn(Store(Path(sys.argv[1]) / "store"), Config(Path(sys.argv[1]))))
"""


@pytest.fixture
def start(planted: Planted, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start a process that is about to run the stage ``slow``."""
    (planted.folder / "slow.py").write_text(SLOW)
    (tmp_path / "log").touch()
    environment = os.environ | {"PYTHONPATH": f"{planted.folder.parent}:{ROOT}"}
    command = [sys.executable, "-c", WORK, str(tmp_path)]
    with ExitStack() as running:

        def start() -> subprocess.Popen[str]:
            work = ProcessTree(command, environment, stdout=subprocess.PIPE, text=True)
            running.enter_context(work)
            assert work.stdout is not None
            assert work.stdout.readline() == "ready\n"
            return work

        yield start


def test_of_two_processes_with_the_same_work_one_does_it(
    start: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    one, other = start(), start()
    wait_until(lambda: (tmp_path / "log").read_text() == "began ", "the work")
    time.sleep(0.3)
    (tmp_path / "go").touch()
    found = {work.communicate(timeout=deadline())[0] for work in (one, other)}
    assert (one.returncode, other.returncode) == (0, 0)
    assert [ref[:5] for ref in found] == ["slow/"]
    assert (tmp_path / "log").read_text() == "began "


def test_work_of_a_killed_process_is_taken_over(
    start: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    one = start()
    wait_until(lambda: (tmp_path / "log").read_text() == "began ", "the work")
    other = start()
    one.kill()
    wait_until(lambda: (tmp_path / "log").read_text() == "began began ", "the other")
    (tmp_path / "go").touch()
    assert other.communicate(timeout=deadline())[0].startswith("slow/")
    assert other.returncode == 0


IMPORTS = {
    "import planted.arithmetic": True,
    "from planted import arithmetic": True,
    "from planted.arithmetic import add as plus": True,
    "from . import arithmetic": True,
    "from .arithmetic import add": True,
    "def late():\n    import planted.arithmetic": True,
    "import json": False,
    "NAME = 'planted.arithmetic'": False,
}


@pytest.mark.parametrize(("line", "depends"), IMPORTS.items())
def test_code_digest_follows_every_form_of_import(
    planted: Planted, line: str, depends: bool
) -> None:
    (planted.folder / "user.py").write_text(line + "\n")
    before = code_digest("planted.user")
    planted.edit("arithmetic", "a + b", "a - b")
    forget()
    assert (code_digest("planted.user") != before) == depends


STAGES = ("download", "filter", "statistics", "split", "pretrain", "mapping", "evaluate", "report")
EDITING = """
import json, sys
from pathlib import Path
from tasks.store import source_digest
from tasks.store.source_digest import code_digest
from tasks.stages.download import DownloadRequest
from tasks.sources.synthetic import Synthetic

def digests():
    for name in ("_source", "_templates", "_import_statements", "_read"):
        getattr(source_digest, name).cache_clear()
    generated = DownloadRequest("movie", Synthetic()).identity()["code"]
    return {"generated": generated} | {name: code_digest(f"tasks.stages.{name}") for name in stages}

stages, files = map(json.loads, sys.argv[1:])
before, reach = digests(), {}
for path in map(Path, files):
    source = path.read_text()
    path.write_text(source + "# edited")
    reach[str(path)] = [name for name, digest in digests().items() if digest != before[name]]
    path.write_text(source)
print(json.dumps(reach))
"""
CALCULATING = {"pretrain", "mapping", "evaluate"}
# which stages an edited file invalidates
REACH = {
    "tasks/sources/http.py": {"download"},
    "metaem_core/synthetic/world.py": {"generated"},
    "metaem_core/data/filtering.py": {"filter"},
    "metaem_core/models/metaem.py": CALCULATING,
    "metaem_core/evaluation/scores.py": {"evaluate"},
    "tasks/report/comparison.py": {"report"},
    "data_contracts/evaluation.py": {"evaluate", "report"},
    "tasks/store/atomic.py": {*STAGES},
    "tasks/report/templates/style.css": {"report"},
    "tasks/progress.py": set[str](),
}


def test_each_stage_depends_on_its_own_code_alone(tmp_path: Path) -> None:
    """Editing the evaluation must not retrain, nor editing the training read files again."""
    for package in ("tasks", "metaem_core", "data_contracts"):
        shutil.copytree(ROOT / package, tmp_path / package)
    command = [sys.executable, "-c", EDITING, json.dumps(STAGES), json.dumps([*REACH])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert {path: {*stages} for path, stages in json.loads(done.stdout).items()} == REACH
