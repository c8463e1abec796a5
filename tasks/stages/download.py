"""A domain's raw ratings file, with the layout to read it by."""

import os
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tasks.sources.base import LAYOUT, Generated, Local, RawFile, Remote, Source
from tasks.sources.fetch import fetch, require_file
from tasks.sources.http import DownloadLimits
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.atomic import sha256_of
from tasks.store.remote import without_login
from tasks.store.source_digest import code_digest
from tasks.store.stage import stage


@dataclass(frozen=True)
class DownloadRequest:
    """One domain of one source."""

    domain: str
    source: Source
    offline: bool = False  # use only what is here already
    limits: DownloadLimits = field(default_factory=DownloadLimits)

    def check(self) -> None:
        """Raise ValueError for what is wrong already: the domain, the kind of file, its path."""
        location = self.source.location(self.domain)
        self.source.layout(Path(location.name))
        if isinstance(location, Local) and not self.offline:  # offline an earlier copy will do
            require_file(location.path)

    def identity(self) -> dict[str, object]:
        """What decides the bytes: an address, a local file's content, a generator's code."""
        location = self.source.location(self.domain)
        about: dict[str, object] = {"name": Path(location.name).name}
        if isinstance(location, Remote):
            urls = [without_login(url) for url in location.urls]
            about |= {"urls": urls, "sha256": location.sha256}
        if isinstance(location, Local):
            content = sha256_of(location.path) if location.path.is_file() else ""
            about |= {"sha256": location.sha256, "content": content}
        if isinstance(location, Generated):
            about |= {"code": code_digest(type(self.source).__module__)}
        return about | {"layout": asdict(self.source.layout(Path(location.name)))}


@stage("download")
def download(store: Store, request: DownloadRequest) -> ArtifactRef:
    """Fetch the file, or find it as it was recorded."""
    file = fetch(
        request.source.location(request.domain),
        store.root / "downloads",
        request.limits,
        store.root / "downloads.lock.json",
        offline=request.offline,
    )
    with store.draft() as draft:
        name = re.sub(r"[^A-Za-z0-9._-]", "_", file.name).lstrip("._-") or "ratings"
        _link(file, draft.path(name))
        draft.write_json(LAYOUT, asdict(RawFile(name, request.source.layout(file))))
    return draft.ref


def _link(file: Path, copy: Path) -> None:
    """A second name where the file system allows it: raw files are large."""
    try:
        os.link(file, copy)
    except OSError:
        shutil.copyfile(file, copy)
