"""Garbage collection: remove from the store what no recent run needs; downloads stay."""

import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.store.artifacts import ArtifactRef, CorruptArtifact, Store
from tasks.store.manifests import MANIFEST
from tasks.store.records import LOCKS, RECORDS, records

DAY = 86_400.0
TRANSIENT = ("tmp/*", "checkpoints/*/*")  # what a killed stage leaves
UNUSED = (f"{LOCKS}/*", f"{RECORDS}/.*", "leases/*")  # "leases" is from stores of version 0.1


@dataclass(frozen=True)
class Sweep:
    """What can go, and how many bytes that frees."""

    folders: tuple[Path, ...]
    records: tuple[Path, ...]
    size: int

    def carry_out(self) -> None:
        """Delete it; a record goes before the artifact it points at."""
        for record in self.records:
            record.unlink(missing_ok=True)
        for folder in self.folders:
            shutil.rmtree(folder)


def plan_sweep(store: Store, keep_days: float) -> Sweep:
    """Keep artifacts used in the last days and everything they were computed from."""
    oldest = time.time() - keep_days * DAY
    kept = marked(store, (ref for ref in store.refs() if _used(store, ref) >= oldest))
    folders = [store.folder(ref) for ref in store.refs() if (ref.stage, ref.digest) not in kept]
    folders += _older(store, oldest, TRANSIENT)
    files = [
        path
        for path, ref in records(store.root)
        if ref is None or (ref.stage, ref.digest) not in kept
    ]
    files += _older(store, oldest, UNUSED)
    return Sweep(tuple(folders), tuple(sorted(files)), sum(map(_bytes, folders)))


def _older(store: Store, oldest: float, patterns: Iterable[str]) -> list[Path]:
    paths = [path for pattern in patterns for path in sorted(store.root.glob(pattern))]
    return [path for path in paths if path.stat().st_mtime < oldest]


def marked(store: Store, roots: Iterable[ArtifactRef]) -> set[tuple[str, str]]:
    """The roots and everything they were computed from, by stage and digest."""
    reachable: set[tuple[str, str]] = set()
    waiting = list(roots)
    while waiting:
        ref = waiting.pop()
        if (ref.stage, ref.digest) not in reachable:
            reachable.add((ref.stage, ref.digest))
            waiting.extend(_inputs(store, ref))
    return reachable


def _inputs(store: Store, ref: ArtifactRef) -> Iterator[ArtifactRef]:
    try:
        yield from store.manifest(ref).provenance.refs()
    except CorruptArtifact:  # an input swept or lost earlier leads nowhere
        return


def _used(store: Store, ref: ArtifactRef) -> float:
    """When, in seconds since 1970; never, without a manifest."""
    path = store.folder(ref) / MANIFEST
    return path.stat().st_mtime if path.is_file() else 0.0


def _bytes(folder: Path) -> int:
    """What deleting it frees: a raw file may go on as a download."""
    stats = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum(stat.st_size for stat in stats if stat.st_nlink == 1)
