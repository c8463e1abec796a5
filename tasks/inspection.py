"""Finding artifacts by a part of their address, and what is wrong with them."""

import json
from collections.abc import Iterator
from dataclasses import asdict

from tasks.artifacts import ArtifactRef, CorruptArtifact, Store
from tasks.manifests import MANIFEST


def select(store: Store, prefix: str) -> list[ArtifactRef]:
    """Readable artifacts whose ``stage/digest`` or digest begins so."""
    return [ref for ref in store.refs() if _matches(ref.stage, ref.digest, prefix)]


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


def damages(store: Store, prefix: str) -> Iterator[str]:
    """What is wrong, one line an artifact; unreadable manifests included."""
    for path in sorted(store.root.glob(f"*/*/{MANIFEST}")):
        stage, digest = path.parent.parent.name, path.parent.name
        if _matches(stage, digest, prefix):
            try:
                store.verify(ArtifactRef(stage, digest, 0))
            except CorruptArtifact as damage:
                yield str(damage)


def _matches(stage: str, digest: str, prefix: str) -> bool:
    return f"{stage}/{digest}".startswith(prefix) or digest.startswith(prefix)
