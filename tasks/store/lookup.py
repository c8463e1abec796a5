"""Finding artifacts by a part of their address, and what is wrong with them."""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict

from tasks.store.artifacts import ArtifactRef, CorruptArtifact, Store
from tasks.store.manifests import RECORDS, read_record


def select(store: Store, prefix: str) -> list[ArtifactRef]:
    """Artifacts, lost ones too, whose ``stage/digest`` or digest begins so."""
    refs = [*store.refs(), *_lost(store)]
    return [ref for ref in refs if str(ref).startswith(prefix) or ref.digest.startswith(prefix)]


def select_one(store: Store, prefix: str) -> ArtifactRef:
    """The only one."""
    found = select(store, prefix)
    if len(found) != 1:
        names = ", ".join(f"{ref.stage}/{ref.digest[:12]}" for ref in found[:5]) or "none"
        raise ValueError(f"{prefix!r} means {len(found)} artifacts ({names}): give more of one")
    return found[0]


def manifest_text(store: Store, ref: ArtifactRef) -> str:
    """The manifest as JSON."""
    return json.dumps(asdict(store.manifest(ref)))


def _lost(store: Store) -> list[ArtifactRef]:
    """What a result record names although its folder is gone."""
    found = set()
    for record in (store.root / RECORDS).glob("*"):
        with suppress(ValueError, KeyError, TypeError):
            ref = read_record(record)
            if not store.folder(ref).is_dir():
                found.add(ref)
    return sorted(found, key=str)


def damages(store: Store, refs: Iterable[ArtifactRef]) -> Iterator[str]:
    """What is wrong with these artifacts, one line for each that is damaged."""
    for ref in refs:
        try:
            store.verify(ref)
        except CorruptArtifact as damage:
            yield str(damage)
