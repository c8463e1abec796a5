"""The partition of users over devices: each device gets its user's ratings, as on a phone."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.atomic import write_json

FEDERATION = "federation"  # in the store's folder
PARTITION = "partition.json"  # in that one


@dataclass(frozen=True)
class Partition:
    """``partition.json``."""

    digest: str  # of the users and domains
    domains: dict[str, str]  # digests of the filtered ratings, by name
    nodes: int


def assign(
    store: Store, refs: Sequence[ArtifactRef], names: Sequence[str], devices: int, nodes: int
) -> int:
    """Put the first ``devices`` users of both domains on ``nodes`` nodes; returns how many.

    A device has one file for each domain, named by its user's number there. An earlier partition
    is removed, unless it is the same: then devices stay as they are, and what they keep.
    """
    from tasks.flower.node import Node
    from tasks.models.data import read_domain

    folder = store.root / FEDERATION
    domains = {name: read_domain(store, ref) for name, ref in zip(names, refs, strict=True)}
    everyone = (set(domain.user_ids.to_list()) for domain in domains.values())
    shared = sorted(set.intersection(*everyone))[:devices]
    of = {name: ref.digest for name, ref in zip(names, refs, strict=True)}
    digest = hashlib.sha256(json.dumps([shared, of]).encode()).hexdigest()
    partition = Partition(digest=digest, domains=of, nodes=nodes)
    if (folder / PARTITION).exists() and _read(store.root) == partition:
        return len(shared)
    (folder / PARTITION).unlink(missing_ok=True)
    for node_folder in filter(Path.is_dir, folder.glob("node-*")):
        shutil.rmtree(node_folder)
    numbers = {
        name: {user: number for number, user in enumerate(domain.user_ids.to_list())}
        for name, domain in domains.items()
    }
    for number in range(nodes):
        node, users = Node(folder / f"node-{number}"), shared[number::nodes]
        for name, domain in domains.items():
            node.domain(name).assign(domain.ratings, [numbers[name][user] for user in users])
        node.link([{name: own[user] for name, own in numbers.items()} for user in users])
    write_json(folder / PARTITION, asdict(partition))
    return len(shared)


def partition_digest(root: Path) -> str:
    """Digest of which users have a device in the federation of the store at ``root``.

    Raises:
        ValueError: no user has one.
    """
    return _read(root).digest


def require_partition(root: Path, name: str, ref: ArtifactRef) -> None:
    """Raise ValueError unless the devices' numbers are those of this artifact of the domain."""
    if _read(root).domains.get(name) != ref.digest:
        raise ValueError(
            f"the devices hold other ratings of {name!r} than this run's: "
            f"give `metaem federation up` the same source and settings"
        )


def _read(root: Path) -> Partition:
    path = root / FEDERATION / PARTITION
    if not path.exists():
        raise ValueError(
            f"no devices in {str(path.parent)!r}: start a federation with `metaem federation up`"
        )
    return TypeAdapter(Partition).validate_json(path.read_bytes())
