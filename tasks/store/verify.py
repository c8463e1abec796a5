"""Whether an artifact's files are what its address says, byte for byte."""

import re
from collections.abc import Callable
from pathlib import Path

from tasks.store.atomic import sha256_of
from tasks.store.manifests import MANIFEST, ArtifactRef, FileEntry, Manifest, content_digest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")


class CorruptArtifact(ValueError):
    """An artifact that is missing, incomplete or not what its address says."""


def verify(folder: Path, ref: ArtifactRef) -> None:
    """Raise :class:`CorruptArtifact` unless the folder holds the artifact as it was published."""
    if not folder.is_dir():
        raise CorruptArtifact(f"{ref} is missing")
    manifest = parse_manifest(ref, (folder / MANIFEST).read_bytes)
    if content_digest(manifest.files) != ref.digest:
        raise CorruptArtifact(f"{ref} has another artifact's manifest")
    if manifest.size != ref.size:
        raise CorruptArtifact(f"{ref} has {manifest.size} bytes of data instead of {ref.size}")
    for name, entry in manifest.files.items():
        _verify_file(folder / checked_name(name), ref, entry)


def parse_manifest(ref: ArtifactRef, read: Callable[[], bytes]) -> Manifest:
    """The artifact's manifest; :class:`CorruptArtifact` if it cannot be read or is damaged."""
    try:
        return Manifest.parse(read())
    except (OSError, ValueError) as error:
        raise CorruptArtifact(f"{ref} has no readable manifest: {error}") from error


def checked_name(name: str) -> str:
    """The name of one of an artifact's files, which leads nowhere else."""
    if not _NAME.fullmatch(name):
        raise CorruptArtifact(f"not a file name for an artifact: {name!r}")
    return name


def _verify_file(path: Path, ref: ArtifactRef, entry: FileEntry) -> None:
    if not path.is_file():
        raise CorruptArtifact(f"{ref} lacks its file {path.name!r}")
    if (size := path.stat().st_size) != entry.bytes:
        raise CorruptArtifact(f"{ref}: {path.name!r} has {size} bytes instead of {entry.bytes}")
    if (digest := sha256_of(path)) != entry.sha256:
        raise CorruptArtifact(f"{ref}: {path.name!r} has sha256 {digest}, not {entry.sha256}")
