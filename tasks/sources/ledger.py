"""What every downloaded file was when it first came, so that it can be held to it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.store.atomic import exclusive, replace_atomically


@dataclass(frozen=True)
class Entry:
    """A file's size and digest, and where it came from."""

    bytes: int
    sha256: str
    origin: str


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
            entries = self._entries() | {name: entry}
            plain = {key: asdict(value) for key, value in sorted(entries.items())}
            text = json.dumps(plain, indent=2) + "\n"
            replace_atomically(self.path, lambda file: file.write_text(text))

    def _entries(self) -> dict[str, Entry]:
        if not self.path.exists():
            return {}
        try:
            plain = json.loads(self.path.read_bytes())
            return {name: Entry(**entry) for name, entry in plain.items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{self.path} is no record of downloads ({error}): restore or delete it"
            ) from error
