"""What an artifact says about itself: its files, and what they were computed from."""

import hashlib
import json
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter

MANIFEST = "manifest.json"
_CALCULATING = ("numpy", "polars", "torch", "dataframely")
_NOTED = (*_CALCULATING, "scikit-learn", "scipy", "matplotlib", "prefect", "mlflow")
_STAGE = re.compile(r"[a-z][a-z0-9_]{0,40}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ArtifactRef:
    """The address of a stage's output."""

    stage: str
    digest: str  # sha256
    size: int  # bytes of data

    def __post_init__(self) -> None:
        if not _STAGE.fullmatch(self.stage) or not _DIGEST.fullmatch(self.digest):
            raise ValueError(f"not an artifact address: {self.stage!r}/{self.digest!r}")

    def __str__(self) -> str:
        return f"{self.stage}/{self.digest}"


@dataclass(frozen=True)
class FileEntry:
    """A data file's fingerprint."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Provenance:
    """What a running stage computes from; ``key`` is its cache key."""

    stage: str
    key: str = ""
    code: str = ""
    config: Mapping[str, object] = field(default_factory=dict)
    inputs: Mapping[str, tuple[ArtifactRef, ...]] = field(default_factory=dict)

    def refs(self) -> Iterator[ArtifactRef]:
        """Every input."""
        for refs in self.inputs.values():
            yield from refs


@cache
def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _NOTED}}


@dataclass(frozen=True)
class Manifest:
    """The content of ``manifest.json``."""

    stage: str
    digest: str
    size: int
    files: dict[str, FileEntry]
    provenance: Provenance
    rows: dict[str, int]
    seconds: float
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    versions: dict[str, str] = field(default_factory=_versions)

    @classmethod
    def parse(cls, content: bytes) -> "Manifest":
        """Read JSON back; ValueError where it is not what was written."""
        fields = json.loads(content)
        if not isinstance(fields, dict) or fields.pop("seal", None) != seal(fields):
            raise ValueError("its seal is broken")
        return _MANIFEST.validate_python(fields)

    def write(self, path: Path) -> None:
        """As indented JSON, sealed."""
        plain = asdict(self)
        path.write_text(json.dumps({"seal": seal(plain), **plain}, indent=2, sort_keys=True))


_MANIFEST = TypeAdapter(Manifest)


def calculating_versions(more: Iterable[str]) -> dict[str, str]:
    """The libraries that results are computed with, as this process first found them."""
    return {name: _versions()[name] for name in (*_CALCULATING, *more)}


def seal(fields: Mapping[str, object]) -> str:
    """sha256 over all that a manifest says: damage to its notes is damage."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def content_digest(files: Mapping[str, FileEntry]) -> str:
    """sha256 over the sorted names, hashes and sizes; no time, no origin."""
    lines = (f"{name} {entry.sha256} {entry.bytes}\n" for name, entry in sorted(files.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
