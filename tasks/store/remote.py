"""A place that several machines share: artifacts, and the records of which key led to which.

The local store is a cache of it. What is fetched is verified byte by byte against its manifest, and
what is damaged or half uploaded counts as missing, so that it is computed again. That finds damage,
not forgery: whoever may write there can replace one artifact by another.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.store.atomic import sync
from tasks.store.manifests import MANIFEST, ArtifactRef, FileEntry
from tasks.store.records import RECORDS, decode_record, encode_record
from tasks.store.verify import CorruptArtifact, checked_name, parse_manifest, verify

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

    Reached = tuple[AbstractFileSystem, str, dict[str, float]]

SECONDS = 30.0  # to wait for an answer, and a second more for each megabyte
OPTIONS: dict[str, dict[str, object]] = {  # keys and endpoint come from the environment
    "s3": {"use_listings_cache": False},
    "file": {"auto_mkdir": True},
}


class SharedUnusable(OSError):
    """The shared place does not answer, or refuses."""


@dataclass(frozen=True)
class Shared:
    """An fsspec URL, such as ``s3://bucket/prefix`` or ``file:///mnt/shared``."""

    url: str

    def record(self, key: str) -> ArtifactRef | None:
        """What some machine computed under a stage's key, if its record can be believed."""
        try:
            return decode_record(key, self._read(f"{RECORDS}/{key}"))
        except FileNotFoundError:
            return None

    def manifest(self, ref: ArtifactRef) -> bytes:
        """The artifact's manifest, as it is there."""
        return self._read(f"{_folder(ref)}/{MANIFEST}")

    def download(self, ref: ArtifactRef, folder: Path) -> None:
        """Fill an empty folder with the artifact; one that is damaged there is withdrawn."""
        try:
            (folder / MANIFEST).write_bytes(self.manifest(ref))
            for name, entry in _files(ref, folder).items():
                path, there = folder / checked_name(name), f"{_folder(ref)}/{name}"
                with self._reached(there, entry.bytes, absent=True) as (files, place, limit):
                    files.get_file(place, str(path), **limit)
                sync(path)
            verify(folder, ref)
        except (FileNotFoundError, CorruptArtifact) as error:
            self._withdraw(ref)
            raise CorruptArtifact(f"{ref} is not here, nor whole in {self}: {error}") from error

    def upload(self, key: str, ref: ArtifactRef, folder: Path) -> None:
        """Upload the artifact and its key's record, unless they are there.

        Data first, then the manifest, then the record; two machines at once do no harm.
        """
        whole = self._is_whole(ref, folder)
        if whole and self.record(key) == ref:
            return
        for name in () if whole else (*_files(ref, folder), MANIFEST):
            with self._reached(f"{_folder(ref)}/{name}", ref.size) as (files, place, limit):
                files.put_file(str(folder / name), place, **limit)
        self._write(f"{RECORDS}/{key}", encode_record(key, ref))

    def try_out(self) -> None:
        """Write there, so that a place that cannot be used is known before hours of work."""
        self._write("metaem.json", json.dumps({"layout": 1}).encode())

    def _is_whole(self, ref: ArtifactRef, folder: Path) -> bool:
        """Whether all its files are there at their sizes."""
        with self._reached(_folder(ref)) as (files, place, limit):
            listing = files.find(place, detail=True, **limit)
        sizes = {path.rpartition("/")[2]: about["size"] for path, about in listing.items()}
        wanted = _files(ref, folder)
        return MANIFEST in sizes and all(sizes.get(n) == wanted[n].bytes for n in wanted)

    def _withdraw(self, ref: ArtifactRef) -> None:
        """Delete the manifest there, so that a machine with the whole artifact uploads it again."""
        path = f"{_folder(ref)}/{MANIFEST}"
        with suppress(FileNotFoundError), self._reached(path, absent=True) as (files, place, limit):
            files.rm_file(place, **limit)

    def _read(self, path: str) -> bytes:
        with self._reached(path, absent=True) as (files, place, limit):
            content: bytes = files.cat_file(place, **limit)
        return content

    def _write(self, path: str, content: bytes) -> None:
        with self._reached(path) as (files, place, limit):
            files.pipe_file(place, content, **limit)

    @contextmanager
    def _reached(self, path: str, size: int = 0, absent: bool = False) -> "Iterator[Reached]":
        """The place of ``path``, which may be ``absent``, and how long it may take."""
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        try:
            files, root = url_to_fs(self.url, **OPTIONS.get(self.url.partition("://")[0], {}))
            limit = {"timeout": SECONDS + size / 1e6} if files.async_impl else {}
            yield files, f"{root}/{path}", limit
        except Exception as error:  # each kind of storage fails in its own way
            if absent and isinstance(error, FileNotFoundError):
                raise
            reason = str(error) or f"no answer within {SECONDS:g} s"
            raise SharedUnusable(f"cannot use the setting 'shared', {self}: {reason}") from error

    def __str__(self) -> str:
        return without_login(self.url)


def without_login(url: str) -> str:
    """The URL, fit for a log: a user name and password in it are blotted out."""
    return re.sub("//[^/@]*@", "//***@", url)


def _folder(ref: ArtifactRef) -> str:
    return f"artifacts/{ref}"


def _files(ref: ArtifactRef, folder: Path) -> dict[str, FileEntry]:
    return parse_manifest(ref, (folder / MANIFEST).read_bytes).files
