"""Files that are either whole or absent, whatever happens to the process or the machine."""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

OS_ERROR = re.compile(r"\(os error (\d+)\)")  # as Rust's libraries end their messages
Stamp = tuple[str, int, int, int, int]

_hashes: dict[Stamp, str] = {}


def sha256_of(path: Path) -> str:
    """The file's sha256, remembered in this process while its inode, size and times stay."""
    stat = path.stat()
    stamp = (str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if stamp not in _hashes:
        with path.open("rb") as file:
            _hashes[stamp] = hashlib.file_digest(file, "sha256").hexdigest()
    return _hashes[stamp]


@contextmanager
def plain_disk_errors(path: Path) -> Iterator[None]:
    """Raise OSError where a library reports a refusal of the system by an error of its own."""
    try:
        yield
    except Exception as error:
        reported = OS_ERROR.search(str(error))
        if reported is None or getattr(error, "errno", None) is not None:
            raise
        number = int(reported[1])
        raise OSError(number, os.strerror(number), str(path)) from error


def sync(path: Path) -> None:
    """Force a file's bytes, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        write(temporary)
        sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Let one thread of one process at a time into work on ``path``; a killed one lets go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_json(path: Path, content: object) -> None:
    """Write JSON, whole or not at all."""
    replace_atomically(path, lambda temporary: temporary.write_text(json.dumps(content)))
