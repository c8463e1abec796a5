"""One place shared by several stores, as a folder and over the S3 protocol."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pytest
from moto.server import ThreadedMotoServer
from prefect import flow

from tasks.store.artifacts import ArtifactRef, CorruptArtifact, Store
from tasks.store.manifests import MANIFEST, seal
from tasks.store.remote import Shared, SharedUnusable
from tasks.store.stage import bind, stage
from tests.support.waiting import deadline

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
PLACE = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}

computed: list[str] = []


@dataclass(frozen=True)
class Start:
    value: int = 7


@dataclass(frozen=True)
class Next:
    pass


@stage("number")
def number(store: Store, config: Start) -> ArtifactRef:
    computed.append("number")
    with store.draft() as draft:
        draft.write_json("n.json", config.value)
        draft.write_json("text.json", "x" * 1000)
    return draft.ref


@stage("doubled")
def doubled(store: Store, config: Next, before: ArtifactRef) -> ArtifactRef:
    computed.append("doubled")
    value = store.read_json(before, "n.json")
    assert isinstance(value, int)
    with store.draft() as draft:
        draft.write_json("n.json", value * 2)
    return draft.ref


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """A server of the S3 protocol on this machine."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@dataclass(frozen=True)
class Remote:
    """The shared place as someone else's hands find it."""

    url: str

    def paths(self) -> list[str]:
        files, root = fsspec.url_to_fs(self.url, use_listings_cache=False)
        return [path.removeprefix(f"{root}/") for path in sorted(files.find(root))]

    def change(self, ending: str, change: Callable[[bytes], bytes | None]) -> None:
        files, root = fsspec.url_to_fs(self.url, use_listings_cache=False)
        (path,) = (path for path in self.paths() if path.endswith(ending))
        content = change(files.cat_file(f"{root}/{path}"))
        if content is None:
            files.rm_file(f"{root}/{path}")
        else:
            files.pipe_file(f"{root}/{path}", content)


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.night)])
def remote(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Remote]:
    computed.clear()
    if request.param == "file":
        yield Remote((tmp_path / "shared").as_uri())
        return
    endpoint: str = request.getfixturevalue("s3")
    for name, value in {**KEYS, **PLACE, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    bucket = f"bucket-{tmp_path.name.replace('_', '-').lower().strip('-')}"[:60].rstrip("-")
    fsspec.filesystem("s3").mkdir(bucket)
    yield Remote(f"s3://{bucket}/results")
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture
def machine(remote: Remote, tmp_path: Path) -> Callable[[str], Store]:
    """A store of the name, sharing the place."""
    return lambda name: Store(tmp_path / name, shared=Shared(remote.url))


Machine = Callable[[str], Store]


def test_another_machine_reuses_what_was_made_and_reads_inputs_it_lacks(
    machine: Machine, remote: Remote
) -> None:
    one, two, three = machine("one"), machine("two"), machine("three")
    first = number.fn(one, Start())
    assert number.fn(two, Start()) == first
    assert computed == ["number"]
    assert doubled.fn(three, Next(), first) == doubled.fn(two, Next(), first)
    assert computed == ["number", "doubled"]
    assert two.read_json(first, "n.json") == 7
    for store in (one, two):
        Store(store.root).verify(first)
        assert [*(store.root / "tmp").iterdir()] == []
    assert [path for path in remote.paths() if path.startswith("artifacts/number")] == [
        f"artifacts/{first}/{name}" for name in (MANIFEST, "n.json", "text.json")
    ]


def test_a_manifest_and_a_file_are_read_from_the_place_on_demand(machine: Machine) -> None:
    ref = number.fn(machine("one"), Start())
    two = machine("two")
    assert two.manifest(ref).provenance.config == {"value": 7}
    assert not two.folder(ref).exists()
    assert two.read_json(ref, "n.json") == 7


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "edited": flipped,
    "gone": lambda content: None,
    "of another shape": lambda content: b'{"seal": [], "files": 7}',
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["text.json", MANIFEST, "results/"])
def test_what_is_damaged_there_is_made_again_and_repaired(
    machine: Machine, remote: Remote, damage: str, file: str
) -> None:
    ref = number.fn(machine("one"), Start())
    before = remote.paths()
    key = next(path for path in before if path.startswith("results/"))
    remote.change(key if file == "results/" else file, DAMAGES[damage])
    two = machine("two")
    assert number.fn(two, Start()) == ref
    assert computed == ["number", "number"]
    Store(two.root).verify(ref)
    assert remote.paths() == before
    assert number.fn(machine("three"), Start()) == ref
    assert computed == ["number", "number"]


def test_an_input_that_is_damaged_there_is_refused_and_shared_again_by_who_has_it(
    machine: Machine, remote: Remote
) -> None:
    one, two = machine("one"), machine("two")
    ref = number.fn(one, Start())
    remote.change("text.json", flipped)
    with pytest.raises(CorruptArtifact, match="nor whole in"):
        doubled.fn(two, Next(), ref)
    assert not two.folder(ref).exists()
    number.fn(one, Start())
    doubled.fn(two, Next(), ref)
    assert computed == ["number", "doubled"]


def test_names_in_a_manifest_cannot_leave_the_artifact(machine: Machine, remote: Remote) -> None:
    ref = number.fn(machine("one"), Start())

    def rename(content: bytes) -> bytes:
        manifest = json.loads(content)
        manifest.pop("seal")
        manifest["files"]["../../escaped"] = manifest["files"].pop("n.json")
        return json.dumps({"seal": seal(manifest), **manifest}).encode()

    remote.change(MANIFEST, rename)
    two = machine("two")
    with pytest.raises(CorruptArtifact, match="file name"):
        two.verify(ref)
    assert number.fn(two, Start()) == ref
    assert not [*two.root.rglob("escaped")]


def test_what_was_made_before_there_was_a_place_is_shared_on_reuse(
    machine: Machine, prefect_server: None
) -> None:
    one, two = machine("one"), machine("two")

    @flow(validate_parameters=False)
    def one_stage(store: Store) -> str:
        future = bind(number, store, "n").submit(store, Start())
        future.result()
        name: str = future.state.name
        return name

    assert one_stage(Store(one.root)) == "Completed"
    assert one_stage(one) == "Cached"
    assert computed == ["number"]
    one_stage(two)
    assert computed == ["number"]
    assert one_stage(Store(two.root)) == "Cached"


def test_machines_that_publish_at_once_do_no_harm(machine: Machine, remote: Remote) -> None:
    stores = [machine(f"m{i}") for i in range(4)]
    gate = threading.Barrier(4)

    def work(store: Store) -> None:
        for value in range(3):
            gate.wait(deadline())
            number.fn(store, Start(value))

    with ThreadPoolExecutor(4) as pool:
        assert len([*pool.map(work, stores)]) == 4
    done = len(computed)
    last = machine("last")
    values = [last.read_json(number.fn(last, Start(value)), "n.json") for value in range(3)]
    assert values == [0, 1, 2]
    assert len(computed) == done


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.night
@pytest.mark.parametrize("endpoint", ["refused", "silent", "no bucket"])
def test_a_place_that_cannot_be_used_is_an_error_that_names_the_setting(
    store: Store,
    s3: str,
    silent: str,
    monkeypatch: pytest.MonkeyPatch,
    endpoint: str,
) -> None:
    chosen = {"refused": "http://127.0.0.1:9", "silent": silent, "no bucket": s3}[endpoint]
    for name, value in {**KEYS, **PLACE, "AWS_ENDPOINT_URL": chosen}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tasks.store.remote.SECONDS", 3.0)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    shared = Shared("s3://nowhere/prefix")
    sharing = Store(store.root, shared=shared)
    for use in (shared.try_out, lambda: number.fn(sharing, Start())):
        with pytest.raises(SharedUnusable, match="setting 'shared', s3://nowhere/prefix"):
            use()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_a_failed_upload_costs_nothing_that_was_computed(store: Store, tmp_path: Path) -> None:
    computed.clear()
    (tmp_path / "place").write_text("a file where a folder should be")
    sharing = Store(store.root, shared=Shared((tmp_path / "place").as_uri()))
    with pytest.raises(SharedUnusable, match="'shared'"):
        number.fn(sharing, Start())
    assert number.fn(Store(store.root), Start()) == next(store.refs())
    assert computed == ["number"]


def test_a_password_in_the_url_is_not_shown() -> None:
    assert str(Shared("sftp://me:secret@host/place")) == "sftp://***@host/place"
