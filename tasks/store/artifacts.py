"""The content-addressed store of what stages produce: every artifact is written and read here.

``root/<stage>/<digest>/`` holds an artifact's data files and its ``manifest.json``. The digest
covers names and bytes of the data files alone, so equal results have equal addresses.
"""

import json
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from tasks.store.atomic import plain_disk_errors, replace_atomically, sha256_of, sync
from tasks.store.manifests import (
    MANIFEST,
    ArtifactRef,
    FileEntry,
    Manifest,
    Provenance,
    content_digest,
)
from tasks.store.remote import Shared
from tasks.store.verify import CorruptArtifact, checked_name, parse_manifest, verify

if TYPE_CHECKING:  # dataframely and torch each cost a second that listing artifacts need not pay
    import dataframely as dy
    from torch import Tensor

__all__ = ["ArtifactRef", "ContractBroken", "CorruptArtifact", "Draft", "Store"]


class ContractBroken(ValueError):
    """A frame that does not keep its schema's promises."""


@dataclass(frozen=True)
class Store:
    """A folder of artifacts; the other fields are set while a stage runs."""

    root: Path
    provenance: Provenance = field(default=Provenance("loose"), compare=False)
    started: float | None = field(default=None, compare=False)  # on the monotonic clock
    shared: Shared | None = None  # where artifacts that this store lacks are looked up

    @property
    def scratch(self) -> Path:
        """A place for the running stage's checkpoints: it outlives a crash of this very work."""
        name, _, key = self.provenance.key.rpartition("-")
        return self.root / "checkpoints" / (name or "loose") / (key[:16] or "loose")

    def folder(self, ref: ArtifactRef) -> Path:
        """Where the artifact's files lie."""
        return self.root / ref.stage / ref.digest

    def file(self, ref: ArtifactRef, name: str) -> Path:
        """The path of one of the artifact's files."""
        self._fetch_if_absent(ref)
        return self.folder(ref) / checked_name(name)

    def manifest(self, ref: ArtifactRef) -> Manifest:
        """The artifact's manifest, without a look at its data."""
        folder = self.folder(ref)
        if folder.is_dir():
            return parse_manifest(ref, (folder / MANIFEST).read_bytes)
        if self.shared is None:
            raise CorruptArtifact(f"{ref} is missing")
        return parse_manifest(ref, partial(self.shared.manifest, ref))

    def verify(self, ref: ArtifactRef) -> None:
        """Raise :class:`CorruptArtifact` unless every byte is what the address says."""
        self._fetch_if_absent(ref)
        verify(self.folder(ref), ref)

    def _fetch_if_absent(self, ref: ArtifactRef) -> None:
        """Download an artifact that is not in this store, if there is a shared place."""
        if self.shared is not None and not self.folder(ref).exists():
            with self._temporary() as folder:
                self.shared.download(ref, folder)
                Draft(self, folder, time.monotonic()).move(ref)

    def share(self, key: str, ref: ArtifactRef) -> None:
        """Upload the artifact and its record under ``key``, if there is a shared place."""
        if self.shared is not None:
            self.shared.upload(key, ref, self.folder(ref))

    def refs(self) -> Iterator[ArtifactRef]:
        """Every artifact's address by stage and digest; size 0 where its manifest is damaged."""
        for path in sorted(self.root.glob("*/*")):
            try:
                ref = ArtifactRef(path.parent.name, path.name, 0)
            except ValueError:
                continue
            try:
                yield replace(ref, size=self.manifest(ref).size)
            except CorruptArtifact:
                yield ref

    def use(self, ref: ArtifactRef, provenance: Provenance) -> None:
        """Record that it was used now; of several origins of equal bytes the last used counts."""
        path, manifest = self.folder(ref) / MANIFEST, self.manifest(ref)
        if manifest.provenance == provenance:
            path.touch()
        else:
            replace_atomically(path, replace(manifest, provenance=provenance).write)

    def read_frame(self, ref: ArtifactRef, name: str) -> pl.DataFrame:
        """A Parquet file; it was validated when written and verified since."""
        with self._readable(ref, name) as path:
            return pl.read_parquet(path)

    def read_tensors(self, ref: ArtifactRef, name: str) -> "dict[str, Tensor]":
        """A safetensors file."""
        from safetensors.torch import load_file

        with self._readable(ref, name) as path:
            return load_file(path)

    @contextmanager
    def _readable(self, ref: ArtifactRef, name: str) -> Iterator[Path]:
        """The file's path; :class:`CorruptArtifact` if it is not of the kind that it should be."""
        from safetensors import SafetensorError

        path = self.file(ref, name)
        try:
            with plain_disk_errors(path):
                yield path
        except (pl.exceptions.PolarsError, SafetensorError) as error:
            raise CorruptArtifact(f"{ref}: {name!r} cannot be read: {error}") from error

    def read_json(self, ref: ArtifactRef, name: str) -> object:
        """A JSON file."""
        parsed: object = json.loads(self.file(ref, name).read_bytes())
        return parsed

    @contextmanager
    def draft(self) -> Iterator["Draft"]:
        """A new artifact of the running stage, published when the block ends without an error."""
        with self._temporary() as folder:
            draft = Draft(self, folder, self.started or time.monotonic())
            yield draft
            draft.publish()

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        folder = self.root / "tmp" / uuid.uuid4().hex
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Draft:
    """An artifact in the making; nobody sees it before :meth:`publish`."""

    store: Store
    folder: Path
    started: float
    rows: dict[str, int] = field(default_factory=dict)
    published: ArtifactRef | None = None

    @property
    def ref(self) -> ArtifactRef:
        """The address, once published."""
        assert self.published is not None, "a draft has no address before it is published"
        return self.published

    def path(self, name: str) -> Path:
        """Where to write a file of another format."""
        return self.folder / checked_name(name)

    def write_frame(self, name: str, frame: pl.DataFrame, schema: "type[dy.Schema]") -> None:
        """Validate and write a table."""
        from dataframely.exc import SchemaError, ValidationError

        try:
            valid = schema.validate(frame)
        except (SchemaError, ValidationError) as error:
            where = f"{self.store.provenance.stage}/{name}"
            reason = str(error).split("\n\nResolved plan")[0]
            raise ContractBroken(f"{where} breaks {schema.__name__}: {reason}") from error
        with plain_disk_errors(self.path(name)):
            valid.write_parquet(self.path(name), compression="zstd")
        self.rows[name] = valid.height

    def write_tensors(self, name: str, tensors: "Mapping[str, Tensor]") -> None:
        """Write tensors as safetensors."""
        from safetensors.torch import save_file

        with plain_disk_errors(self.path(name)):
            save_file({key: value.contiguous() for key, value in tensors.items()}, self.path(name))

    def write_json(self, name: str, value: object) -> None:
        """Write plain data as JSON."""
        self.path(name).write_text(json.dumps(value, indent=2, sort_keys=True))

    def publish(self) -> None:
        """Move the folder to its address, unless the same content is there already."""
        for ref in self.store.provenance.refs():
            self.store.verify(ref)
        files = {path.name: _entry(path) for path in sorted(self.folder.iterdir())}
        size, origin = sum(entry.bytes for entry in files.values()), self.store.provenance
        ref = ArtifactRef(origin.stage, content_digest(files), size)
        seconds = round(time.monotonic() - self.started, 3)
        manifest = Manifest(ref.stage, ref.digest, size, files, origin, self.rows, seconds)
        replace_atomically(self.folder / MANIFEST, manifest.write)
        self.move(ref)
        self.published = ref

    def move(self, ref: ArtifactRef) -> None:
        """Put the finished folder at the address, in one step."""
        target = self.store.folder(ref)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.folder.rename(target)
        except OSError:
            if not target.is_dir():
                raise
            if not self._keep_existing(ref):
                return self.move(ref)
        sync(target.parent)

    def _keep_existing(self, ref: ArtifactRef) -> bool:
        """Whether the folder at the address is good; a corrupt one is put out of the way."""
        target = self.store.folder(ref)
        try:
            self.store.verify(ref)
        except CorruptArtifact:
            with suppress(FileNotFoundError):  # another process may have done it
                target.rename(self.folder.with_suffix(".condemned"))
            shutil.rmtree(self.folder.with_suffix(".condemned"), ignore_errors=True)
            return False
        # the newest provenance wins: it is what garbage collection has to follow
        (self.folder / MANIFEST).replace(target / MANIFEST)
        return True


def _entry(path: Path) -> FileEntry:
    sync(path)
    return FileEntry(sha256_of(path), path.stat().st_size)
