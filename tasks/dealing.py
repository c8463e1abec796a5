"""Users' ratings dealt out to devices, as if they had always been there."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from tasks.artifacts import ArtifactRef, Store
from tasks.files import replace_atomically

FEDERATION = "federation"  # in the store's folder


def deal(
    store: Store, refs: Sequence[ArtifactRef], names: Sequence[str], devices: int, nodes: int
) -> int:
    """Put the first ``devices`` users of both domains on ``nodes`` nodes; returns how many.

    A device has one file a domain, named by its user's number there; whoever had one before has
    none now.
    """
    from tasks.domains import read_domain
    from tasks.federation import DeviceFolder

    folder = store.root / FEDERATION
    domains = [read_domain(store, ref) for ref in refs]
    known = [set(domain.user_ids.to_list()) for domain in domains]
    shared = sorted(set.intersection(*known))[:devices]
    for old in folder.glob("node-*"):
        if old.is_dir():
            shutil.rmtree(old)
    for name, domain in zip(names, domains, strict=True):
        place = {user: index for index, user in enumerate(domain.user_ids.to_list())}
        for node in range(nodes):
            own = [place[user] for user in shared[node::nodes]]
            DeviceFolder(folder / f"node-{node}" / name).deal(domain.ratings, own)
    digest = hashlib.sha256(json.dumps([*shared, *(ref.digest for ref in refs)]).encode())
    replace_atomically(folder / "dealt", lambda path: path.write_text(digest.hexdigest()))
    return len(shared)


def dealt(root: Path) -> str:
    """Digest of who has a device in the federation of the store at ``root``.

    Raises:
        ValueError: nobody has.
    """
    path = root / FEDERATION / "dealt"
    if not path.exists():
        raise ValueError(
            f"no devices in {str(path.parent)!r}: start a federation with `metaem federation up`"
        )
    return path.read_text()
