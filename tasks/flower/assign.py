"""Users' ratings dealt out to devices, as if they had always been there."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.atomic import write_json

FEDERATION = "federation"  # in the store's folder
DEALT = "dealt.json"  # in that one


def deal(
    store: Store, refs: Sequence[ArtifactRef], names: Sequence[str], devices: int, nodes: int
) -> int:
    """Put the first ``devices`` users of both domains on ``nodes`` nodes; returns how many.

    A device has one file a domain, named by its user's number there; whoever had one before has
    none now. The same once more leaves devices as they are, and what they keep.
    """
    from tasks.flower.node import Node
    from tasks.models.data import read_domain

    folder = store.root / FEDERATION
    domains = [read_domain(store, ref) for ref in refs]
    known = [set(domain.user_ids.to_list()) for domain in domains]
    shared = sorted(set.intersection(*known))[:devices]
    of = {name: ref.digest for name, ref in zip(names, refs, strict=True)}
    digest = hashlib.sha256(json.dumps([shared, of]).encode()).hexdigest()
    whole = {"digest": digest, "domains": of, "nodes": nodes}
    if (folder / DEALT).exists() and _read(store.root) == whole:
        return len(shared)
    (folder / DEALT).unlink(missing_ok=True)
    for old in folder.glob("node-*"):
        if old.is_dir():
            shutil.rmtree(old)
    places = {
        name: {user: index for index, user in enumerate(domain.user_ids.to_list())}
        for name, domain in zip(names, domains, strict=True)
    }
    for number in range(nodes):
        node, people = Node(folder / f"node-{number}"), shared[number::nodes]
        for name, domain in zip(names, domains, strict=True):
            node.domain(name).deal(domain.ratings, [places[name][user] for user in people])
        node.link([{name: place[user] for name, place in places.items()} for user in people])
    write_json(folder / DEALT, whole)
    return len(shared)


def dealt(root: Path) -> str:
    """Digest of who has a device in the federation of the store at ``root``.

    Raises:
        ValueError: nobody has.
    """
    return str(_read(root)["digest"])


def require_dealt(root: Path, name: str, ref: ArtifactRef) -> None:
    """Raise ValueError unless the devices' numbers are those of this artifact of the domain."""
    domains = _read(root)["domains"]
    assert isinstance(domains, dict)
    if domains.get(name) != ref.digest:
        raise ValueError(
            f"the devices hold other ratings of {name!r} than this run's: "
            f"give `metaem federation up` the same source and settings"
        )


def _read(root: Path) -> dict[str, object]:
    path = root / FEDERATION / DEALT
    if not path.exists():
        raise ValueError(
            f"no devices in {str(path.parent)!r}: start a federation with `metaem federation up`"
        )
    return cast(dict[str, object], json.loads(path.read_text()))
