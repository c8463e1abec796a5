"""F09, F19-F22, F27-F30: hostile and odd inputs, names, numbers and limits."""

import gzip
import math
import os
import pickle
import resource
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.manifests import MANIFEST, FileEntry, content_digest
from tasks.store.records import RECORDS, write_record
from tests.faults.command import ROOT, Product, arguments, metaem
from tests.faults.damaging import artifacts, entries
from tests.faults.processes import Ended, run
from tests.faults.stores import contents
from tests.faults.suite import Suite, refusal
from tests.faults.tally import Injection

MEGABYTE = 1 << 20


def own_files(product: Product, movie: bytes, music: bytes, *more: str, name: str = "") -> Ended:
    """The command on two files of one's own."""
    words = []
    for domain, content in (("movie", movie), ("music", music)):
        path = product.folder / f"own-{domain}.csv{name}"
        path.write_bytes(content)
        words.append(f"--set=files.files.{domain}={path}")
    return product.run(product.empty(), "--source", "files", *words, *more)


def ratings(users: list[str], items: int = 12, same: bool = False) -> bytes:
    """Everyone rates everything."""
    rows = [
        f"{user},i{item},{4 if same else (len(user) * 7 + number * item) % 5 + 1}"
        for number, user in enumerate(users)
        for item in range(items)
    ]
    return "\n".join(["user_id,item_id,rating", *rows, ""]).encode()


def people(count: int, start: int = 0) -> list[str]:
    return [f"u{number}" for number in range(start, start + count)]


def refused(row: str, fault: str, ended: Ended, *words: str) -> Injection:
    """It has to fail, in words, and with these among them."""
    wrong = refusal(ended) or ("" if ended.code else "it went through")
    lacking = [word for word in words if word not in ended.told]
    if not wrong and lacking:
        wrong = f"it does not say {lacking}: {ended.told[-500:]}"
    return Injection(row, fault, wrong)


def passed(row: str, fault: str, ended: Ended, more: str = "") -> Injection:
    """It has to go through."""
    wrong = "" if ended.code == 0 else f"it ended with {ended.code}: {ended.told[-1500:]}"
    return Injection(row, fault, wrong or more)


def bombs(suite: Suite) -> Iterator[Injection]:
    """F09: what is small and becomes large."""
    product = suite.product
    good = ratings(people(40))
    usual = product.run(product.empty()).memory
    zeros = packed(b"\0" * MEGABYTE, 1024)
    line = packed(b"x" * MEGABYTE, 100, b"user_id,item_id,rating\n")
    for fault, bomb in (("1 GB of zeros", zeros), ("a line of 100 MB", line)):
        ended = own_files(product, bomb, gzip.compress(good), name=".gz")
        injection = refused("F09", fault, ended, "own-movie.csv.gz")
        grown = (ended.memory - usual) // 1024
        if injection.passed and grown > 150:
            injection = Injection("F09", fault, f"it took {grown} MB more than a run")
        yield injection


def packed(block: bytes, times: int, start: bytes = b"") -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    blocks = [packer.compress(part) for part in (start, *[block] * times)]
    return b"".join([*blocks, packer.flush()])


def odd_ids(suite: Suite) -> Iterator[Injection]:
    """F19: ids that other programs trip over."""
    strange = ["=cmd()", "naïve", "💿", "a b", "9" * 400, "-0", "NaN", "1e9", "null", "../../x"]
    odd = ratings([*strange, *people(40)])
    ended = own_files(suite.product, odd, odd)
    yield passed("F19", "ids of every kind", ended, finite(suite.product))


def odd_worlds(suite: Suite) -> Iterator[Injection]:
    """F20: too little of everything, or too much."""
    product, many = suite.product, ratings(people(60))
    apart = ratings(people(60, start=1000))
    yield refused("F20", "nobody in both", own_files(product, many, apart), "no user is in both")
    one = ratings([*people(59, start=1000), "u1"])
    yield refused("F20", "one person in both", own_files(product, many, one), "1 shared users")
    tiny = own_files(product, many, many, "--betas", "0.001")
    yield refused("F20", "no cold user", tiny, "leave a role empty")
    most = own_files(product, many, many, "--betas", "0.999")
    yield refused("F20", "nobody to train on", most, "leave a role empty")
    alone = own_files(product, ratings(["u1"]), many, "--set=k=1")
    yield refused("F20", "a single user", alone, "shared users")
    item = ratings(people(60), items=1)
    ended = own_files(product, item, item, "--set=k=1")
    yield passed("F20", "a single item", ended, finite(product))
    once = many + b"once,i1,3\n"
    ended = own_files(product, once, once, "--set=k=1")
    yield passed("F20", "a user with one rating", ended, finite(product))
    greedy = many + "".join(f"greedy,i{n},{n % 5 + 1}\n" for n in range(50_000)).encode()
    ended = own_files(product, greedy, greedy, "--set=k=1")
    yield passed("F20", "a user with 50,000 ratings", ended, finite(product))


def constant(suite: Suite) -> Iterator[Injection]:
    """F21: everyone gives everything the same."""
    same = ratings(people(60), same=True)
    ended = own_files(suite.product, same, same)
    yield passed("F21", "all ratings equal", ended, finite(suite.product))


def finite(product: Product) -> str:
    """What is wrong with the numbers of the last run's evaluation."""
    store = product.folder / "disturbed"

    def work() -> None:
        opened = Store(store)
        refs = [ref for ref in opened.refs() if ref.stage == "evaluate"]
        assert refs, "nothing was evaluated"
        for ref in refs:
            for method, metric, value in opened.read_frame(ref, "scores.parquet").iter_rows():
                assert math.isfinite(value), f"{metric} of {method} is {value}"

    ended = run(work, product.folder / "log-finite")
    return "" if ended.code == 0 else ended.told[-300:]


def divergence(suite: Suite) -> Iterator[Injection]:
    """F22: a learning rate beyond reason."""
    product, setting = suite.product, "mapping.learning_rates=1e30"
    store = product.empty()
    first = product.run(store, "--set", setting)
    wrong = refusal(first) or ("" if first.code else "it went through")
    yield product.mend("F22", setting, store, first, wrong, whole=True, other=True)


class Mischief:
    """Runs code where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.trace),)


def malice(suite: Suite) -> Iterator[Injection]:
    """F27: an artifact made to harm, with everything that vouches for it."""
    product, trace = suite.product, suite.product.folder / "obeyed"
    contents_of = {
        "a pickle": pickle.dumps(Mischief(trace)),
        "a header of 2^63 bytes": (1 << 63).to_bytes(8, "little") + b"{}",
        "a header that ends early": (1 << 20).to_bytes(8, "little") + b"{}",
    }
    for fault, content in contents_of.items():
        store = product.without("evaluate")
        forge(store, "mapping", "mapping.safetensors", content)
        first = product.run(store)
        wrong = refusal(first) or ("" if first.code else "it was read")
        if trace.exists():
            wrong, _ = "its code ran", trace.rmdir()
        yield Injection("F27", f"{fault} as safetensors", wrong)


def forge(store: Path, stage: str, name: str, content: bytes) -> None:
    """Put ``content`` into the stage's artifact, and everywhere what makes it look right."""
    opened = Store(store)
    (ref,) = artifacts(store, stage)
    manifest, folder = opened.manifest(ref), opened.folder(ref)
    (folder / name).write_bytes(content)
    files = manifest.files | {name: FileEntry(sha256(content).hexdigest(), len(content))}
    digest, size = content_digest(files), sum(entry.bytes for entry in files.values())
    replace(manifest, files=files, digest=digest, size=size).write(folder / MANIFEST)
    folder.rename(folder.with_name(digest))
    for path in entries(store / RECORDS, stage):
        write_record(path, ArtifactRef(stage, digest, size))


def hostile_names(suite: Suite) -> Iterator[Injection]:
    """F28: names that lead elsewhere, or are too long, or end early."""
    product = suite.product
    for name in ("../../x", "x" * 4096, "a\0b", "movie-../../x", "a/b-c", "💿", "$(id)", "a\nb"):
        for option in ("--task", "--config", "--mirror", "--source", "--seeds", "--set"):
            place = product.empty_folder()

            def work(words: tuple[str, str] = (option, name), place: Path = place) -> None:
                os.chdir(place)
                metaem([*arguments(Path("s")), "--source", "amazon-2014", "--offline", *words])

            before = {*product.folder.parent.iterdir(), *product.folder.iterdir()}
            injection = refused("F28", f"{option} {name[:12]!r}", run(work, product.folder / "log"))
            strays = {*product.folder.parent.iterdir(), *product.folder.iterdir()} - before
            strays |= {path for path in place.iterdir() if path.name != "s"}
            yield replace(injection, wrong=f"it wrote {strays}") if strays else injection


def little_memory(suite: Suite) -> Iterator[Injection]:
    """F29: less memory than it takes."""
    product = suite.product
    for _ in suite.some(5):
        room = int(suite.draw.uniform(20, 400)) * MEGABYTE
        store = product.empty()
        first = product.run(store, before=lambda more=room: no_more_than(more))
        wrong = "" if first.code < 0 else refusal(first)
        fault = f"{room // MEGABYTE} MB more than at the start, ended with {first.code}"
        yield product.mend("F29", fault, store, first, wrong, whole=True)


def no_more_than(room: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + room
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def other_circumstances(suite: Suite) -> Iterator[Injection]:
    """F30: another hash seed and folder give the same bytes, more threads the same scores."""
    product = suite.product
    store, elsewhere = product.empty(), product.empty_folder()
    changed = {"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT), "TZ": "Asia/Tokyo"}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", *arguments(store)],
        cwd=elsewhere,
        env=os.environ | changed,
        capture_output=True,
        text=True,
        check=False,
    )
    same = done.returncode == 0 and contents(store) == product.expected
    told = "" if same else f"it ended with {done.returncode}, other bytes: {done.stderr[-500:]}"
    yield Injection("F30", "another interpreter, hash seed, folder and time zone", told)
    ended = product.run(product.empty(), before=more_threads)
    yield passed("F30", "two threads a stage", ended, unlike(product, 1e-3))


def more_threads() -> None:
    import torch

    torch.set_num_threads(2)
    assert torch.get_num_threads() == 2


def unlike(product: Product, tolerance: float) -> str:
    """What differs from the undisturbed run's errors by more than the tolerance."""

    def work() -> None:
        scores = []
        for root in (product.base, product.folder / "disturbed"):
            (ref,) = artifacts(root, "evaluate")
            frame = Store(root).read_frame(ref, "scores.parquet")
            rows = {(method, metric): value for method, metric, value in frame.iter_rows()}
            scores.append({key: value for key, value in rows.items() if key[1] in ("mae", "rmse")})
        one, other = scores
        assert one.keys() == other.keys()
        apart = max(abs(one[key] - other[key]) for key in one)
        assert apart < tolerance, f"errors differ by {apart}"

    ended = run(work, product.folder / "log-unlike")
    return "" if ended.code == 0 else ended.told[-300:]
