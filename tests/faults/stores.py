"""What must hold of a store, whatever happened to the processes that wrote it."""

import fcntl
from collections.abc import Iterator
from pathlib import Path

from tasks.store.artifacts import ArtifactRef, CorruptArtifact, Store
from tasks.store.manifests import LEASES, read_lease


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
    return {path.name for path in _leases(root) if _is_done(Store(root), path)}


def held(root: Path) -> list[str]:
    """Leases that somebody holds."""
    return [path.name for path in (root / LEASES).glob(".*.lock") if not _can_lock(path)]


def _leases(root: Path) -> Iterator[Path]:
    yield from (path for path in (root / LEASES).glob("*") if not path.name.startswith("."))


def _is_done(store: Store, lease: Path) -> bool:
    try:
        return is_whole(store, read_lease(lease))
    except (ValueError, KeyError, TypeError):
        return False


def _can_lock(path: Path) -> bool:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
