"""A disk that fails, or a machine that dies, at the N-th file operation of this process."""
# ruff: noqa: ANN401 - it stands in for functions of every signature

import builtins
import errno
import io
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHANGES = frozenset({"write", "library", "folder", "name", "sync"})
# which kinds of operations a fault can hit, and whether it lasts
HITS: dict[str, tuple[frozenset[str], bool]] = {
    "killed before": (CHANGES, False),
    "killed after": (CHANGES, False),
    "killed within": (frozenset({"library"}), False),
    "ENOSPC": (frozenset({"write", "library", "folder", "sync"}), True),
    "EACCES": (frozenset({"write", "library", "folder", "name"}), True),
    "EIO": (frozenset({"read", "library", "sync"}), False),
}
KILLS = tuple(fault for fault in HITS if fault.startswith("killed"))


@dataclass
class Disk:
    """Counts what is done to files below ``root``; the operation ``number`` meets ``fault``.

    Python's own operations and the writers of Parquet and safetensors are seen, SQLite's are not.
    """

    root: Path
    fault: str = "killed before"
    number: int = 0  # 0: none
    seen: Counter[str] = field(default_factory=Counter)  # by kind
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def count(self) -> int:
        """Operations so far that the fault could have hit."""
        return sum(self.seen[kind] for kind in HITS[self.fault][0])

    def arm(self) -> None:
        """Put it under everything that this process does from now on."""
        for name, kind in NAMES.items():
            setattr(os, name, self._named(getattr(os, name), kind))
        os.fsync = self._synced(os.fsync)
        os.open = self._opened(os.open, lambda flags: bool(flags & (os.O_WRONLY | os.O_RDWR)))
        io.open = builtins.open = self._opened(io.open, lambda mode: bool(set(mode) & set("wax+")))
        import polars
        import safetensors.torch

        polars.DataFrame.write_parquet = self._written(polars.DataFrame.write_parquet)
        safetensors.torch.serialize_file = self._written(safetensors.torch.serialize_file)

    def meet(self, kind: str, place: str, act: Callable[[], Any]) -> Any:
        """Do ``act``, unless the fault has it otherwise."""
        if not place.startswith(f"{self.root}{os.sep}") or not self._hits(kind):
            return act()
        if self.fault == "killed after":
            with suppress(OSError):
                act()
        elif self.fault != "killed before" and kind == "library":
            act()
            os.truncate(place, os.path.getsize(place) // 2)
        if self.fault in KILLS:
            os.kill(os.getpid(), signal.SIGKILL)
        number = getattr(errno, self.fault)
        raise OSError(number, os.strerror(number), place)

    def _hits(self, kind: str) -> bool:
        kinds, lasts = HITS[self.fault]
        if kind not in kinds:
            return False
        with self.lock:
            self.seen[kind] += 1
            return self.count == self.number or (lasts and 0 < self.number < self.count)

    def _named(self, call: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def named(path: Any, *rest: Any, **options: Any) -> Any:
            place = _place(path, options.get("dir_fd") or options.get("src_dir_fd"))
            return self.meet(kind, place, lambda: call(path, *rest, **options))

        return named

    def _synced(self, call: Callable[[int], None]) -> Callable[[int], None]:
        def synced(descriptor: int) -> None:
            place = os.readlink(f"/proc/self/fd/{descriptor}")
            self.meet("sync", place, lambda: call(descriptor))

        return synced

    def _opened(
        self, call: Callable[..., Any], writes: Callable[[Any], bool]
    ) -> Callable[..., Any]:
        def opened(path: Any, how: Any = "r", *rest: Any, **options: Any) -> Any:
            if isinstance(path, int):
                return call(path, how, *rest, **options)
            kind = "write" if writes(options.get("mode", how)) else "read"
            if "mode" in options and isinstance(how, str):
                return self.meet(kind, _place(path), lambda: call(path, *rest, **options))
            place = _place(path, options.get("dir_fd"))
            return self.meet(kind, place, lambda: call(path, how, *rest, **options))

        return opened

    def _written(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def written(content: Any, path: Any, *rest: Any, **options: Any) -> Any:
            place = _place(path)
            return self.meet("library", place, lambda: call(content, path, *rest, **options))

        return written


NAMES = {
    "mkdir": "folder",
    "link": "folder",  # needs room too
    "replace": "name",
    "rename": "name",
    "unlink": "name",
    "rmdir": "name",
    "utime": "name",
}


def _place(path: Any, folder: int | None = None) -> str:
    text = os.fsdecode(path)
    if folder is not None and not os.path.isabs(text):
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)
    return os.path.abspath(text)
