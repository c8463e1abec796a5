"""Finding artifacts by a part of their address, and what is wrong with them."""

from collections.abc import Iterable, Iterator

from tasks.store.artifacts import ArtifactRef, CorruptArtifact, Store
from tasks.store.records import records


def select(store: Store, prefix: str) -> list[ArtifactRef]:
    """Artifacts, lost ones too, whose ``stage/digest`` or digest begins so."""
    refs = [*store.refs(), *_lost(store)]
    return [ref for ref in refs if str(ref).startswith(prefix) or ref.digest.startswith(prefix)]


def select_one(store: Store, prefix: str) -> ArtifactRef:
    """The only one."""
    matches = select(store, prefix)
    if len(matches) != 1:
        names = ", ".join(f"{ref.stage}/{ref.digest[:12]}" for ref in matches[:5]) or "none"
        raise ValueError(f"{prefix!r} means {len(matches)} artifacts ({names}): give more of one")
    return matches[0]


def ancestors(store: Store, *refs: ArtifactRef) -> dict[str, ArtifactRef]:
    """What artifacts were computed from, directly or not, by the name it had as an input.

    One of several inputs of a name is numbered.
    """
    inputs_by_name: dict[str, ArtifactRef] = {}
    waiting = [("", ref) for ref in refs]
    while waiting:
        parent, current = waiting.pop(0)
        for several, inputs in store.manifest(current).provenance.inputs.items():
            for number, each in enumerate(inputs, 1):
                name = f"{several}_{number}" if len(inputs) > 1 else several
                if each not in inputs_by_name.values():
                    unique = f"{parent}_{name}" if name in inputs_by_name else name
                    inputs_by_name[unique] = each
                    waiting.append((unique, each))
    return inputs_by_name


def _lost(store: Store) -> list[ArtifactRef]:
    """What a result record names although its folder is gone."""
    named = {ref for _, ref in records(store.root) if ref is not None}
    return sorted((ref for ref in named if not store.folder(ref).is_dir()), key=str)


def damages(store: Store, refs: Iterable[ArtifactRef]) -> Iterator[str]:
    """What is wrong with these artifacts, one line for each that is damaged."""
    for ref in refs:
        try:
            store.verify(ref)
        except CorruptArtifact as damage:
            yield str(damage)
