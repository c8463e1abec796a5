"""The store: addresses, publishing, verification, contracts."""

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import dataframely as dy
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.store.artifacts import ArtifactRef, ContractBroken, CorruptArtifact, Store
from tasks.store.gc import plan_sweep
from tasks.store.lookup import damages
from tasks.store.manifests import MANIFEST, FileEntry, Provenance, content_digest, seal
from tests.support.damage import DAMAGES, OTHER_SHAPES, edit
from tests.support.waiting import deadline

ROOT = Path(__file__).parents[2]


class Numbers(dy.Schema):
    n = dy.Int64(min=0)


def make(store: Store, *numbers: int) -> ArtifactRef:
    with store.draft() as draft:
        draft.write_frame("numbers.parquet", pl.DataFrame({"n": numbers}), Numbers)
        draft.write_json("about.json", {"count": len(numbers)})
    return draft.ref


def test_what_is_written_is_read_back(store: Store) -> None:
    with store.draft() as draft:
        draft.write_frame("numbers.parquet", pl.DataFrame({"n": [1, 2]}), Numbers)
        draft.write_tensors("t.safetensors", {"w": torch.eye(3)[:, :2]})
        draft.write_json("about.json", {"k": [1, None]})
    store.verify(draft.ref)
    assert store.read_frame(draft.ref, "numbers.parquet")["n"].to_list() == [1, 2]
    assert torch.equal(store.read_tensors(draft.ref, "t.safetensors")["w"], torch.eye(3)[:, :2])
    assert store.read_json(draft.ref, "about.json") == {"k": [1, None]}
    manifest = store.manifest(draft.ref)
    assert manifest.rows == {"numbers.parquet": 2}
    assert manifest.size == draft.ref.size > 0


def test_equal_content_has_one_address_whatever_it_was_made_from(store: Store) -> None:
    first = make(store, 1, 2)
    later = replace(store, provenance=Provenance("made", key="other", config={"seed": 2}))
    assert make(later, 1, 2) == first
    assert store.manifest(first).provenance.config == {"seed": 2}
    assert make(store, 2, 1) != first
    assert [*store.refs()].count(first) == 1


@given(st.dictionaries(st.text(min_size=1), st.binary(max_size=3), max_size=4), st.data())
def test_digest_tells_any_two_contents_apart(files: dict[str, bytes], data: st.DataObject) -> None:
    other = data.draw(st.dictionaries(st.text(min_size=1), st.binary(max_size=3), max_size=4))
    entries, others = (
        {name: FileEntry(content.hex(), len(content)) for name, content in each.items()}
        for each in (files, other)
    )
    assert (content_digest(entries) == content_digest(others)) == (files == other)


def test_a_failing_stage_leaves_nothing_behind(store: Store) -> None:
    def fail() -> None:
        with store.draft() as draft:
            draft.write_json("half.json", 1)
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        fail()
    assert [*store.refs()] == []
    assert [*(store.root / "tmp").iterdir()] == []


LIMITED = """
import errno, resource, signal, sys
from pathlib import Path
import dataframely as dy, polars as pl, torch
from tasks.store.artifacts import Store
from tasks.store.checkpoints import Checkpoint

class Numbers(dy.Schema):
    n = dy.Int64()

store, checkpoint = Store(Path(sys.argv[1])), Checkpoint(Path(sys.argv[1]))
frame, tensors = pl.DataFrame({"n": range(10_000)}), {"w": torch.rand(10_000)}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
for write in (
    lambda draft: draft.write_frame("n.parquet", frame, Numbers),
    lambda draft: draft.write_tensors("w.safetensors", tensors),
    lambda draft: draft.write_json("n.json", [*range(1_000)]),
    lambda draft: checkpoint.save(1, tensors),
):
    try:
        with store.draft() as draft:
            write(draft)
    except OSError as error:
        print(error.errno == errno.EFBIG)
"""


def test_a_disk_that_refuses_is_told_alike_by_every_writer(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True"] * 4, done.stderr
    assert not list(tmp_path.glob("**/checkpoint.safetensors"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("n.parquet", b"PAR1"),
        ("t.safetensors", b"\x80\x05pickle" * 9),
        ("t.safetensors", (1 << 63).to_bytes(8, "little") + b"{}"),
        ("t.safetensors", (1 << 20).to_bytes(8, "little") + b"{}"),
    ],
)
def test_a_file_of_another_kind_is_refused_though_its_artifact_vouches_for_it(
    store: Store, name: str, content: bytes
) -> None:
    with store.draft() as draft:
        draft.path(name).write_bytes(content)
    store.verify(draft.ref)
    read = store.read_frame if name == "n.parquet" else store.read_tensors
    with pytest.raises(CorruptArtifact, match=f"{name}' cannot be read"):
        read(draft.ref, name)


SHAPES = [partial(Path.write_text, data=shape) for shape in OTHER_SHAPES]
DAMAGED = [
    *product(["numbers.parquet", "about.json", MANIFEST], DAMAGES),
    *product([MANIFEST], SHAPES),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGED)
def test_damage_is_found_and_a_new_copy_replaces_it(
    store: Store, name: str, damage: Callable[[Path], object]
) -> None:
    ref = make(store, 1, 2, 3)
    store.verify(ref)
    damage(store.file(ref, name))
    with pytest.raises(CorruptArtifact, match=ref.digest):
        store.verify(ref)
    assert len([*damages(store, store.refs())]) == 1
    plan_sweep(store, keep_days=1)
    assert make(store, 1, 2, 3) == ref
    store.verify(ref)
    assert [*damages(store, store.refs())] == []


@pytest.mark.parametrize(
    "changes",
    [{"rows": {"numbers.parquet": 9}}, {"provenance": {"stage": "made", "inputs": {}}}, {"x": 1}],
)
def test_what_a_manifest_says_of_the_origin_is_verified(
    store: Store, changes: dict[str, object]
) -> None:
    ref = make(store, 1)
    path = store.folder(ref) / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(CorruptArtifact, match="seal is broken"):
        store.verify(ref)


def test_swapped_artifacts_are_found(store: Store) -> None:
    one, two = make(store, 1), make(store, 2)
    store.folder(one).rename(store.root / "aside")
    store.folder(two).rename(store.folder(one))
    with pytest.raises(CorruptArtifact, match="another artifact's manifest"):
        store.verify(one)
    with pytest.raises(CorruptArtifact, match="is missing"):
        store.verify(two)


def test_an_input_edited_while_a_stage_runs_keeps_its_result_from_being_published(
    store: Store,
) -> None:
    source = make(store, 1)
    running = replace(store, provenance=Provenance("later", inputs={"source": (source,)}))

    def work() -> None:
        with running.draft() as draft:
            draft.write_json("out.json", 1)
            edit(store.file(source, "numbers.parquet"))

    with pytest.raises(CorruptArtifact, match="sha256"):
        work()
    assert not (store.root / "later").exists()


def test_a_broken_contract_names_artifact_rule_column_and_count(store: Store) -> None:
    with pytest.raises(ContractBroken) as caught, store.draft() as draft:
        draft.write_frame("numbers.parquet", pl.DataFrame({"n": [1, -1, -2]}), Numbers)
    for part in ("made/numbers.parquet", "Numbers", "'n'", "'min'", "2 rows"):
        assert part in str(caught.value)
    with pytest.raises(ContractBroken, match="missing columns"), store.draft() as draft:
        draft.write_frame("numbers.parquet", pl.DataFrame({"m": [1]}), Numbers)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 200, "a\0b"])
def test_names_cannot_leave_the_artifact(store: Store, name: str) -> None:
    ref = make(store, 1)
    with pytest.raises(CorruptArtifact, match="file name"):
        store.file(ref, name)
    path = store.folder(ref) / MANIFEST
    manifest = json.loads(path.read_text())
    del manifest["seal"]
    manifest["files"] = {name: manifest["files"]["about.json"]}
    path.write_text(json.dumps(manifest | {"seal": seal(manifest)}))
    with pytest.raises(CorruptArtifact):
        store.verify(ref)


@pytest.mark.parametrize(("stage", "digest"), [("../..", "0" * 64), ("made", "0" * 63), ("", "")])
def test_addresses_cannot_leave_the_store(stage: str, digest: str) -> None:
    with pytest.raises(ValueError, match="not an artifact address"):
        ArtifactRef(stage, digest, 0)


def publish_often(root: Path, gate: "multiprocessing.synchronize.Barrier") -> None:
    store = Store(root, Provenance("made"))
    for number in range(10):
        gate.wait(deadline())
        store.verify(make(store, number))


def test_processes_publishing_the_same_content_all_succeed(store: Store) -> None:
    fork = multiprocessing.get_context("spawn")
    gate = fork.Barrier(2)
    workers = [fork.Process(target=publish_often, args=(store.root, gate)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(deadline())
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len([*store.refs()]) == 10
    assert [*damages(store, store.refs())] == []
    assert [*(store.root / "tmp").iterdir()] == []


def age(store: Store, ref: ArtifactRef, days: float) -> None:
    past = (store.folder(ref) / MANIFEST).stat().st_mtime - days * 86_400
    os.utime(store.folder(ref) / MANIFEST, (past, past))


def test_a_sweep_counts_the_bytes_it_frees(store: Store, tmp_path: Path) -> None:
    ref = make(store, 1)
    with store.draft() as draft:
        raw = tmp_path / "raw"
        raw.write_bytes(bytes(1_000_000))
        os.link(raw, draft.path("raw"))
    sizes = [path.stat().st_size for path in store.folder(ref).iterdir()]
    manifest = (store.folder(draft.ref) / MANIFEST).stat().st_size
    for each in (ref, draft.ref):
        age(store, each, days=10)
    sweep = plan_sweep(store, keep_days=5)
    assert sweep.size == sum(sizes) + manifest
    raw.unlink()
    assert plan_sweep(store, keep_days=5).size == sweep.size + 1_000_000


@given(st.data())
@settings(max_examples=15)
def test_sweeping_keeps_recent_artifacts_and_all_they_were_made_from(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    store = Store(tmp_path_factory.mktemp("gc"))
    refs: list[ArtifactRef] = []
    needs: dict[ArtifactRef, set[ArtifactRef]] = {}
    for number in range(data.draw(st.integers(1, 6))):
        inputs = data.draw(st.sets(st.sampled_from(refs))) if refs else set()
        origin = Provenance("made", inputs={"before": tuple(inputs)})
        refs.append(make(replace(store, provenance=origin), number))
        needs[refs[-1]] = inputs | {deep for each in inputs for deep in needs[each]}
    recent = {ref for ref in refs if data.draw(st.booleans())}
    for ref in set(refs) - recent:
        age(store, ref, days=10)
    plan_sweep(store, keep_days=5).carry_out()
    assert set(store.refs()) == recent | {deep for ref in recent for deep in needs[ref]}
