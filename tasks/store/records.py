"""The index of finished work: the record ``results/<key>`` names the artifact of a stage's key.

A record is a result record of Prefect's, so that Prefect finds results by it. It is never read with
Prefect's classes before it was read here: they would run code that a record names.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import Json, TypeAdapter, ValidationError

from tasks.store.atomic import replace_atomically
from tasks.store.manifests import ArtifactRef

RECORDS = "results"  # the folder of records below the store
LOCKS = "locks"  # and of an empty file for each key, locked by the run that computes its result
SERIALIZER = "metaem-artifact"


@dataclass(frozen=True)
class _Metadata:
    storage_key: str
    serializer: dict[str, str]


@dataclass(frozen=True)
class _Record:
    metadata: _Metadata
    result: Json[ArtifactRef]


_RECORD = TypeAdapter(_Record)


def encode_record(key: str, ref: ArtifactRef) -> bytes:
    """The record of ``ref`` under ``key``, the same on every machine."""
    metadata = _Metadata(key, {"type": SERIALIZER})
    return json.dumps({"metadata": asdict(metadata), "result": json.dumps(asdict(ref))}).encode()


def decode_record(key: str, content: bytes) -> ArtifactRef | None:
    """The artifact that a record names; None for a damaged record or one of another key."""
    try:
        record = _RECORD.validate_json(content, strict=True)
    except ValidationError:
        return None
    expected = _Metadata(key, {"type": SERIALIZER})
    return record.result if record.metadata == expected else None


def read_record(path: Path) -> ArtifactRef | None:
    """The artifact that a record names; None without a record that can be believed."""
    try:
        return decode_record(path.name, path.read_bytes())
    except FileNotFoundError:
        return None


def write_record(path: Path, ref: ArtifactRef) -> None:
    """Record ``ref`` under the key ``path.name``, whole or not at all."""
    content = encode_record(path.name, ref)
    replace_atomically(path, lambda temporary: temporary.write_bytes(content))


def records(root: Path) -> Iterator[tuple[Path, ArtifactRef | None]]:
    """Every record of the store at ``root`` and the artifact that it names."""
    for path in sorted((root / RECORDS).glob("[!.]*")):  # a killed writer leaves hidden files
        yield path, read_record(path)
