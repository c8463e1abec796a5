"""What must hold of a store, whatever happened to the processes that wrote it."""

import fcntl
from pathlib import Path

from tasks.store.artifacts import ArtifactRef, CorruptArtifact, Store
from tasks.store.records import LOCKS, records


def broken(root: Path) -> list[str]:
    """Artifacts that are visible at their address and not whole."""
    store = Store(root)
    return [str(ref) for ref in store.refs() if not is_whole(store, ref)]


def is_whole(store: Store, ref: ArtifactRef) -> bool:
    try:
        store.verify(ref)
    except CorruptArtifact:
        return False
    return True


def contents(root: Path) -> set[str]:
    """The addresses of all artifacts."""
    return {str(ref) for ref in Store(root).refs()}


def finished(root: Path) -> set[str]:
    """The keys under which work is known to be finished."""
    return {path.name for path, ref in records(root) if ref and is_whole(Store(root), ref)}


def held(root: Path) -> list[str]:
    """Locks that somebody holds."""
    return [path.name for path in (root / LOCKS).glob(".*.lock") if not _can_lock(path)]


def _can_lock(path: Path) -> bool:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
