"""What every downloaded file was when it first came, so that it can be held to it."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from tasks.store.atomic import exclusive, replace_atomically


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
        """Hold ``name`` to ``entry`` from now on."""
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
