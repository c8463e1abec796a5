"""Files of ratings in the download folder: whole, and the same as the first time."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from tasks.progress import advance
from tasks.sources.base import Generated, Local, Location, Remote
from tasks.sources.http import DownloadError, DownloadLimits, discard, transfer
from tasks.store.atomic import exclusive, replace_atomically, sha256_of, sync

CHUNK = 1 << 20


class DigestMismatch(DownloadError):
    """A file is not the one that was recorded or pinned."""


class Unobtainable(DownloadError, ValueError):
    """There is no file, and only the caller can change that."""


@dataclass(frozen=True)
class Entry:
    """A file's size and digest, and where it came from."""

    bytes: int
    sha256: str
    origin: str


_ENTRIES = TypeAdapter(dict[str, Entry])


@dataclass(frozen=True)
class Ledger:
    """``downloads.lock.json``: file name -> entry; deleting an entry forgets the file."""

    path: Path

    def entry(self, name: str) -> Entry | None:
        """What ``name`` was recorded as."""
        return self._entries().get(name)

    def record(self, name: str, entry: Entry) -> None:
        """Record ``entry``, which every later file of that name must match."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(self.path):
            entries = dict(sorted((self._entries() | {name: entry}).items()))
            content = _ENTRIES.dump_json(entries, indent=2) + b"\n"
            replace_atomically(self.path, lambda file: file.write_bytes(content))

    def _entries(self) -> dict[str, Entry]:
        if not self.path.exists():
            return {}
        try:
            return _ENTRIES.validate_json(self.path.read_bytes())
        except ValueError as error:
            raise ValueError(
                f"{self.path} is no record of downloads ({error}): restore or delete it"
            ) from error


def fetch(
    location: Location, folder: Path, limits: DownloadLimits, lock: Path, *, offline: bool = False
) -> Path:
    """The file of ``location`` below ``folder``.

    Its size and sha256 are recorded in the JSON file ``lock`` the first time and enforced from
    then on. ``offline`` uses only what is recorded and here already.
    """
    target = folder / location.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(target):
        if isinstance(location, Generated):
            replace_atomically(target, location.write)
        else:
            _fetch(location, target, limits, Ledger(lock), offline)
    return target


def _fetch(
    location: Remote | Local, target: Path, limits: DownloadLimits, ledger: Ledger, offline: bool
) -> None:
    recorded = ledger.entry(location.name)
    if recorded and _is(target, recorded) and _is_current(location, recorded, offline):
        return
    if offline and isinstance(location, Remote):
        state = "is not what was recorded" if target.exists() else "is not here"
        raise Unobtainable(f"{target} {state} and downloading is off: run once online")
    part = target.with_name(f"{target.name}.part")
    entry = _obtain(location, part, limits, ledger)
    sync(part)
    part.replace(target)
    sync(target.parent)
    discard(part)
    ledger.record(location.name, entry)


def _is(path: Path, entry: Entry) -> bool:
    return path.is_file() and (path.stat().st_size, sha256_of(path)) == (entry.bytes, entry.sha256)


def _is_current(location: Remote | Local, entry: Entry, offline: bool) -> bool:
    """Whether the recorded file is still the one that ``location`` means."""
    if location.sha256 not in (None, entry.sha256):
        return False
    if isinstance(location, Remote) or (offline and not location.path.exists()):
        return True
    return _is(location.path, entry)


def _obtain(location: Remote | Local, part: Path, limits: DownloadLimits, ledger: Ledger) -> Entry:
    """Fill ``part`` from the first origin that has the right bytes."""
    if isinstance(location, Local):
        _copy(location.path, part, limits)
        return _checked(location, part, str(location.path), ledger)
    failures: list[DownloadError] = []
    for url in location.urls:
        try:
            transfer(url, part, limits)
            return _checked(location, part, url, ledger)
        except DownloadError as error:
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    raise DownloadError("\n".join(map(str, failures))) from failures[-1]


def require_file(path: Path) -> None:
    """Raise unless there is a file."""
    if not path.is_file():
        raise Unobtainable(f"{path} is no file: check the path")


def _copy(path: Path, part: Path, limits: DownloadLimits) -> None:
    require_file(path)
    total, done = path.stat().st_size, 0
    if total > limits.size:
        raise DownloadError(f"{path}: {total} bytes, over the limit of {limits.size}")
    with path.open("rb") as source, part.open("wb") as copy:
        while chunk := source.read(CHUNK):
            copy.write(chunk)
            done += len(chunk)
            advance(done, total, unit="byte")


def _checked(location: Remote | Local, part: Path, origin: str, ledger: Ledger) -> Entry:
    """The file's entry; raises unless it matches the pinned and the recorded one."""
    entry = Entry(part.stat().st_size, sha256_of(part), origin)
    recorded = ledger.entry(location.name)
    if location.sha256 not in (None, entry.sha256):
        expected, place = f"sha256 {location.sha256}", "the configuration"
    elif (
        recorded  # your own file may change; a published one may not
        and isinstance(location, Remote)
        and (recorded.bytes, recorded.sha256) != (entry.bytes, entry.sha256)
    ):
        expected, place = f"{recorded.bytes} bytes, sha256 {recorded.sha256}", str(ledger.path)
    else:
        return entry
    discard(part)
    raise DigestMismatch(
        f"{origin} gave {location.name!r} with {entry.bytes} bytes, sha256 {entry.sha256}, but "
        f"{place} has {expected}: try again or another mirror, or, if the file was replaced on "
        f"purpose, remove its entry from {place}"
    )
