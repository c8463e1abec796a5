import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from tasks.progress import Finished, Step, listening
from tasks.sources.base import Generated, Local, Location, Remote
from tasks.sources.fetch import DigestMismatch, Entry, Ledger, fetch
from tasks.sources.files import Files
from tasks.sources.http import DownloadError, DownloadLimits
from tasks.stages.download import DownloadRequest
from tests.support.loopback import Answer, Loopback, loopback
from tests.support.waiting import deadline

CONTENT = np.random.default_rng(0).bytes(3_000_000)
OTHER = np.random.default_rng(1).bytes(3_000_000)
LIMITS = DownloadLimits(timeout=deadline(60), attempts=3, pause=0.01)


@pytest.fixture
def server() -> Iterator[Loopback]:
    with loopback() as server:
        server.files["/ratings.csv.gz"] = CONTENT
        yield server


@pytest.fixture
def remote(server: Loopback) -> Remote:
    return Remote("amazon/ratings.csv.gz", (f"{server.url}/ratings.csv.gz",))


def get(
    location: Location, folder: Path, limits: DownloadLimits = LIMITS, offline: bool = False
) -> bytes:
    path = fetch(location, folder, limits, folder / "downloads.lock.json", offline=offline)
    assert path == folder / location.name
    return path.read_bytes()


def leftovers(folder: Path) -> list[str]:
    files = [path.name for path in folder.rglob("*") if path.is_file()]
    return sorted(name for name in files if not name.endswith(".lock"))


def test_a_file_is_recorded_and_then_not_fetched_again(
    server: Loopback, remote: Remote, tmp_path: Path
) -> None:
    assert get(remote, tmp_path) == CONTENT
    assert get(remote, tmp_path) == CONTENT
    assert len(server.requests) == 1
    assert json.loads((tmp_path / "downloads.lock.json").read_text()) == {
        "amazon/ratings.csv.gz": {
            "bytes": len(CONTENT),
            "sha256": sha256(CONTENT).hexdigest(),
            "origin": remote.urls[0],
        }
    }
    assert leftovers(tmp_path) == ["downloads.lock.json", "ratings.csv.gz"]


LOST = Answer(stop_after=1_000_000)  # the connection, after so many bytes
SHORT = Answer(body=OTHER[:500_000], etag='"same"')
WEAK = 'W/"weak"'
# answers, and where the requests begin
BROKEN: dict[str, tuple[list[Answer], list[int | None]]] = {
    "twice": ([LOST, Answer(stop_after=1_500_000)], [None, 1_000_000, 2_500_000]),
    "less than requested": ([LOST, Answer(most=500_000)], [None, 1_000_000, 1_500_000]),
    "longer than the file": ([replace(LOST, etag='"same"'), SHORT, SHORT], [None, 1_000_000, None]),
    "no validator": ([replace(LOST, etag=""), Answer(etag="")], [None, None]),
    "weak validator": ([replace(LOST, etag=WEAK), Answer(etag=WEAK)], [None, None]),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_download_goes_on_where_it_may(
    server: Loopback, remote: Remote, tmp_path: Path, how: str
) -> None:
    answers, starts = BROKEN[how]
    server.answers = [*answers]
    assert get(remote, tmp_path) == (answers[-1].body or CONTENT)
    assert server.starts() == starts


def test_a_later_run_resumes(server: Loopback, remote: Remote, tmp_path: Path) -> None:
    server.answers = [LOST]
    once = DownloadLimits(timeout=deadline(60), attempts=1)
    with pytest.raises(DownloadError, match="gave up after 1 attempts"):
        get(remote, tmp_path, once)
    assert not (tmp_path / remote.name).exists()
    assert get(remote, tmp_path, once) == CONTENT
    assert server.starts() == [None, 1_000_000]


@pytest.mark.parametrize(
    "second",
    [
        Answer(ignore_range=True),
        Answer(body=OTHER),
        Answer(body=OTHER, ignore_if_range=True),
        Answer(body=OTHER[:500_000]),
        Answer(status=416),
    ],
    ids=["range ignored", "changed", "changed, If-Range ignored", "shorter", "416"],
)
def test_a_resume_never_mixes_files(
    server: Loopback, remote: Remote, tmp_path: Path, second: Answer
) -> None:
    """A server that ignores If-Range has given itself away, so the file is requested anew."""
    server.answers = [LOST, second]
    other = second.body and not second.ignore_if_range
    assert get(remote, tmp_path) == (second.body if other else CONTENT)


def test_one_mirror_does_not_complete_another_ones_file(server: Loopback, tmp_path: Path) -> None:
    server.files["/other"] = OTHER
    server.answers = [Answer(stop_after=1_000_000, etag='"1"'), Answer(etag='"1"')]
    urls = (f"{server.url}/ratings.csv.gz", f"{server.url}/other")
    once = DownloadLimits(timeout=deadline(60), attempts=1)
    assert get(Remote("a.gz", urls), tmp_path, once) == OTHER


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_in_trouble_is_tried_again(
    server: Loopback, remote: Remote, tmp_path: Path, status: int
) -> None:
    server.answers = [Answer(status=status), Answer(status=status)]
    assert get(remote, tmp_path) == CONTENT


@pytest.mark.parametrize(("status", "requests"), [(500, 3), (404, 1)])
def test_attempts_are_bounded(
    server: Loopback, remote: Remote, tmp_path: Path, status: int, requests: int
) -> None:
    server.answers = [Answer(status=status)] * 10
    with pytest.raises(DownloadError, match=f"the server answered {status}"):
        get(remote, tmp_path)
    assert len(server.requests) == requests


def test_other_bytes_than_recorded_are_refused(
    server: Loopback, remote: Remote, tmp_path: Path
) -> None:
    path = tmp_path / remote.name
    get(remote, tmp_path)
    path.unlink()
    server.files["/ratings.csv.gz"] = OTHER
    with pytest.raises(DigestMismatch) as refusal:
        get(remote, tmp_path)
    for part in (remote.name, sha256(CONTENT), sha256(OTHER), "remove its entry from"):
        assert (part if isinstance(part, str) else part.hexdigest()) in str(refusal.value)
    assert leftovers(tmp_path) == ["downloads.lock.json"]


def test_a_damaged_file_is_fetched_again(server: Loopback, remote: Remote, tmp_path: Path) -> None:
    get(remote, tmp_path)
    (tmp_path / remote.name).write_bytes(CONTENT[:-1] + b"x")
    assert get(remote, tmp_path) == CONTENT
    assert len(server.requests) == 2


def test_mirrors_are_tried_in_order(server: Loopback, tmp_path: Path) -> None:
    server.files["/poisoned"] = OTHER
    urls = tuple(f"{server.url}/{name}" for name in ("gone", "poisoned", "ratings.csv.gz"))
    pinned = sha256(CONTENT).hexdigest()
    assert get(Remote("a.gz", urls, pinned), tmp_path) == CONTENT
    assert [request["path"] for request in server.requests] == [
        "/gone",
        "/poisoned",
        "/ratings.csv.gz",
    ]
    with pytest.raises(DownloadError, match=r"/gone: .*404[\s\S]*/poisoned gave"):
        get(Remote("b.gz", urls[:2], pinned), tmp_path)


def test_redirects_are_followed_but_not_to_files(
    server: Loopback, remote: Remote, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("private")
    for location in (f"file://{secret}", "ftp://127.0.0.1/secret"):
        server.answers = [Answer(status=302, location=location)]
        with pytest.raises(DownloadError, match=r"redirected to '(file|ftp):.*refused"):
            get(remote, tmp_path / "data")
    server.answers = [Answer(status=302, location="/ratings.csv.gz")]
    assert get(remote, tmp_path / "data") == CONTENT
    server.answers = [Answer(status=302, location="/ratings.csv.gz")] * 9
    with pytest.raises(DownloadError, match="more than 5 times"):
        get(Remote("again.gz", remote.urls), tmp_path / "data")


@pytest.mark.parametrize("answer", [Answer(), Answer(length=False)])
def test_size_is_capped(server: Loopback, remote: Remote, tmp_path: Path, answer: Answer) -> None:
    server.answers = [answer]
    with pytest.raises(DownloadError, match="over the limit of 2000000"):
        get(remote, tmp_path, DownloadLimits(size=2_000_000))
    assert not (tmp_path / remote.name).exists()
    part = tmp_path / f"{remote.name}.part"
    assert part.exists() != answer.length, "a size that is announced is refused unread"
    assert answer.length or part.stat().st_size <= 2_000_000


def test_offline_uses_only_what_is_recorded_and_whole(
    server: Loopback, remote: Remote, tmp_path: Path
) -> None:
    with pytest.raises(DownloadError, match="is not here and downloading is off"):
        get(remote, tmp_path, offline=True)
    get(remote, tmp_path)
    assert get(remote, tmp_path, offline=True) == CONTENT
    (tmp_path / remote.name).write_bytes(OTHER)
    with pytest.raises(DownloadError, match="is not what was recorded"):
        get(remote, tmp_path, offline=True)
    assert len(server.requests) == 1


def test_a_local_file_is_copied_and_may_change_unless_it_is_pinned(tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_bytes(b"u,i,5,1\n")
    local = Local("files/movie/mine.csv", mine)
    assert get(local, tmp_path / "data", offline=True) == b"u,i,5,1\n"
    pinned = replace(local, sha256=sha256(b"u,i,5,1\n").hexdigest())
    mine.write_bytes(b"u,i,4,1\n")
    with pytest.raises(DigestMismatch, match="the configuration has sha256"):
        get(pinned, tmp_path / "data")
    assert get(local, tmp_path / "data") == b"u,i,4,1\n"
    mine.unlink()
    assert get(local, tmp_path / "data", offline=True) == b"u,i,4,1\n"
    with pytest.raises(DownloadError, match=r"mine\.csv is no file"):
        get(local, tmp_path / "data")
    with pytest.raises(DownloadError, match="is no file"):
        get(Local("files/movie/none.csv", tmp_path / "none.csv"), tmp_path / "data")


@pytest.mark.parametrize("offline", [True, False])
def test_files_of_one_name_in_two_folders_are_kept_apart(tmp_path: Path, offline: bool) -> None:
    def source(folder: str) -> Files:
        return Files({"movie": str(tmp_path / folder / "mine.csv")})

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.csv").write_text(folder)
        assert get(source(folder).location("movie"), tmp_path / "data") == folder.encode()
    with pytest.raises(DownloadError, match="is no file"):
        get(source("c").location("movie"), tmp_path / "data", offline=offline)
    assert get(source("a").location("movie"), tmp_path / "data", offline=True) == b"a"


def test_a_file_that_was_moved_is_the_same_work(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("u,i,5,1\n")
    before = DownloadRequest("movie", Files({"movie": str(tmp_path / "mine.csv")})).identity()
    (tmp_path / "moved").mkdir()
    moved = (tmp_path / "mine.csv").rename(tmp_path / "moved" / "mine.csv")
    assert DownloadRequest("movie", Files({"movie": str(moved)})).identity() == before


def test_a_file_is_generated_whole_or_not_at_all(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"ma")
        raise OSError("disk full")

    def write(path: Path) -> None:
        path.write_bytes(b"generated")

    with pytest.raises(OSError, match="disk full"):
        get(Generated("synthetic/movie.gz", fail), tmp_path)
    assert leftovers(tmp_path) == []
    assert get(Generated("synthetic/movie.gz", write), tmp_path) == b"generated"
    assert leftovers(tmp_path) == ["movie.gz"]


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a\0b", "", "a/./b"])
def test_names_stay_in_the_folder(name: str) -> None:
    with pytest.raises(ValueError, match="leaves the download folder"):
        Remote(name, ("http://127.0.0.1/x",))


def test_only_http_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither http nor https"):
        Remote("passwd", ("file:///etc/passwd",))


def test_a_damaged_record_is_named(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "downloads.lock.json").write_text('{"a": ')
    with pytest.raises(ValueError, match=r"downloads\.lock\.json is no record of downloads"):
        get(remote, tmp_path)


def test_threads_that_want_the_same_file_fetch_it_once(
    server: Loopback, remote: Remote, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(4) as pool:
        contents = list(pool.map(lambda _: get(remote, tmp_path), range(4)))
    assert contents == [CONTENT] * 4
    assert len(server.requests) == 1


def test_no_record_is_lost_among_many_writers(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "downloads.lock.json")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: ledger.record(f"{n}", Entry(n, "0" * 64, "here")), range(64)))
    assert len(json.loads(ledger.path.read_text())) == 64


def test_progress_reaches_the_end(server: Loopback, remote: Remote, tmp_path: Path) -> None:
    steps: list[Step | Finished] = []
    server.answers = [LOST]
    lock = tmp_path / "downloads.lock.json"
    with listening(steps.append):
        fetch(remote, tmp_path, LIMITS, lock)
    seen = [(step.done, step.total) for step in steps if isinstance(step, Step)]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
