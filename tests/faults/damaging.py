"""F11, F12, F13, F16: what lies in the store is damaged, swapped, forged or changed meanwhile."""

import gzip
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.manifests import MANIFEST
from tasks.store.records import LOCKS, RECORDS, encode_record
from tests.faults.command import STAGES, Product, computed
from tests.faults.processes import Ended
from tests.faults.stores import contents
from tests.faults.suite import Suite
from tests.faults.tally import Injection

Damage = Callable[[Path], None]


def cut(path: Path) -> None:
    """The end is gone: the footer, of a Parquet file."""
    path.write_bytes(path.read_bytes()[:-64])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replaced(path: Path) -> None:
    """A file of the right kind, and of other content."""
    others = [each for each in path.parent.iterdir() if each not in (path, path.parent / MANIFEST)]
    shutil.copyfile(next(iter(others), path.parent / MANIFEST), path)


DAMAGES: dict[str, Damage] = {
    "cut short": cut,
    "one bit flipped": flip,
    "emptied": empty,
    "another table in its place": replaced,
    "deleted": Path.unlink,
}


def damaged_files(suite: Suite) -> Iterator[Injection]:
    """F11: a file of every stage's artifact."""
    for number, stage in enumerate(STAGES):
        for turn in suite.some(2):
            store = suite.product.copy()
            ref = suite.draw.choice([each for each in Store(store).refs() if each.stage == stage])
            file = suite.draw.choice(sorted(Store(store).folder(ref).iterdir()))
            how = [*DAMAGES][(2 * number + turn) % len(DAMAGES)]
            DAMAGES[how](file)
            yield repaired(suite, "F11", f"{stage}: {file.name} {how}", store, {stage})


def repaired(
    suite: Suite, row: str, fault: str, store: Path, stages: set[str], at_most: int = 1
) -> Injection:
    """The command after damage: it computes no more than what was damaged."""
    again = suite.product.run(store)
    wrong = [] if again.code == 0 else [f"it ended with {again.code}: {again.told[-500:]}"]
    labels = computed(again.told)
    if not {label.split()[0] for label in labels} <= stages:
        wrong.append(f"it computed {labels}")
    if contents(store) != suite.product.expected:
        wrong.append("other artifacts than undisturbed")
    surplus = max(len(labels) - at_most, 0)
    return Injection(row, fault, "; ".join(wrong), again.seconds, duplicates=surplus)


def gone_and_swapped(suite: Suite) -> Iterator[Injection]:
    """F12: artifacts deleted or swapped, and records that name others."""
    for stage in suite.draw.sample(STAGES, len(suite.some(4))) if suite.times <= 2 else STAGES:
        store = suite.product.copy()
        shutil.rmtree(store / stage / artifacts(store, stage)[0].digest)
        yield repaired(suite, "F12", f"{stage}: its artifact deleted", store, {stage})
    store = suite.product.copy()
    swap(*(Store(store).folder(ref) for ref in artifacts(store, "filter")))
    yield repaired(suite, "F12", "filter: two artifacts swapped", store, {"filter"}, at_most=2)
    store = suite.product.copy()
    swap(*entries(store / RECORDS, "filter"))
    yield repaired(suite, "F12", "filter: records swapped", store, {"filter"}, at_most=2)


def artifacts(store: Path, stage: str) -> list[ArtifactRef]:
    return [ref for ref in Store(store).refs() if ref.stage == stage]


def entries(folder: Path, stage: str) -> list[Path]:
    return sorted(folder.glob(f"{stage}-*"))


def swap(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def forged_records(suite: Suite) -> Iterator[Injection]:
    """F16: records, and the files of their locks, that say what is not so."""
    forgeries = {
        "empty": b"",
        "a process that is gone": b"4194303",
        "of another shape": b'["key"]',
        "of what is not there": encode_record("KEY", ArtifactRef("filter", "0" * 64, 1)),
    }
    for how, content in forgeries.items():
        store = suite.product.copy()
        for path in entries(store / RECORDS, "filter"):
            forged = content.replace(b"KEY", path.name.encode())
            path.write_bytes(forged)
            (store / LOCKS / f".{path.name}.lock").write_bytes(forged)
        yield repaired(suite, "F16", f"records: {how}", store, {"filter"}, at_most=2)


def edited_inputs(suite: Suite) -> Iterator[Injection]:
    """F13: your own file is edited while the command runs, and put back afterwards."""
    product = suite.product
    lines = world(product)
    files = [f"--set=files.files.{domain}={path}" for domain, path in lines.items()]
    words = ("--source", "files", *files, "--set=k=1")
    first = product.run(product.empty(), *words)
    assert first.code == 0, first.told
    expected, report = contents(product.folder / "disturbed"), reported(first)
    movie = lines["movie"]
    content = movie.read_bytes()
    for _ in suite.some(6):
        store, delay = product.empty(), suite.draw.uniform(0, 0.4 * first.seconds)
        child = product.start(store, *words)
        time.sleep(delay)
        movie.write_bytes(content.replace(b",1\n", b",5\n"))
        disturbed = child.wait()
        movie.write_bytes(content)
        again = product.run(store, *words)
        wrong = [] if disturbed.code in (0, 1) else [f"it ended with {disturbed.code}"]
        if again.code != 0 or not expected <= contents(store) or reported(again) != report:
            wrong.append(f"the next run ended with {again.code}: {again.told[-500:]}")
        fault = f"a file edited after {delay:.1f} s"
        yield Injection("F13", fault, "; ".join(wrong), again.seconds)


def world(product: Product) -> dict[str, Path]:
    """The ratings of the undisturbed run as files of one's own, with a header."""
    files = {}
    for raw in (product.base / "downloads" / "synthetic").glob("*.csv.gz"):
        domain = raw.name.partition("-")[0]
        rows = gzip.decompress(raw.read_bytes()).decode().splitlines()
        files[domain] = product.folder / f"{domain}.csv"
        named = [",".join([*row.split(",")[:2], row.split(",")[2].split(".")[0]]) for row in rows]
        files[domain].write_text("\n".join(["user_id,item_id,rating", *named, ""]))
    return files


def reported(ended: Ended) -> str:
    """The folder of the report that a command told of."""
    lines = [line for line in ended.told.splitlines() if line.startswith("report and figures: ")]
    return lines[-1] if lines else ""
