"""Users' ratings dealt out to devices, as if they had always been there."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from tasks.artifacts import ArtifactRef, Store
from tasks.files import replace_atomically

FEDERATION = "federation"  # in the store's folder
DEALT = "dealt.json"  # in that one


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
    of = {name: ref.digest for name, ref in zip(names, refs, strict=True)}
    digest = hashlib.sha256(json.dumps([shared, of]).encode()).hexdigest()
    told = json.dumps({"digest": digest, "domains": of})
    replace_atomically(folder / DEALT, lambda path: path.write_text(told))
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
