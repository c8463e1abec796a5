"""What a source of ratings has to say: where a domain's file is and how to read it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

LAYOUT = "layout.json"


@dataclass(frozen=True)
class _Named:
    """A file that is kept under ``name``, a path in the download folder."""

    name: str

    def __post_init__(self) -> None:
        name = self.name
        if not name or name[0] == "/" or {"..", "."} & {*name.split("/")} or "\0" in name:
            raise ValueError(f"file name {name!r} leaves the download folder: use a plain name")


@dataclass(frozen=True)
class Remote(_Named):
    """A file on HTTP servers, tried in order."""

    urls: tuple[str, ...]
    sha256: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for url in self.urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"{url!r} is neither http nor https: give a URL or a local path")


@dataclass(frozen=True)
class Local(_Named):
    """A file on this machine, to be copied."""

    path: Path
    sha256: str | None = None


@dataclass(frozen=True)
class Generated(_Named):
    """A file that is computed: the same ``name`` always gets the same ratings."""

    write: Callable[[Path], None]


Location = Remote | Local | Generated


@dataclass(frozen=True)
class Columns:
    """The names under which a file keeps the facts of a rating.

    It may have no timestamp, and a file of choices no rating.
    """

    user: str = "user_id"
    item: str = "item_id"
    rating: str | None = "rating"
    timestamp: str | None = "timestamp"

    def names(self) -> list[str]:
        """The names in the order user, item, rating, timestamp."""
        return [self.user, self.item, *filter(None, [self.rating, self.timestamp])]


@dataclass(frozen=True)
class Layout:
    """How one file is laid out; text may be gzipped.

    ``header`` names a delimited file's fields when its first line does not.
    """

    kind: Literal["delimited", "json-lines", "parquet"]
    columns: Columns
    separator: str = ","
    header: tuple[str, ...] | None = None


@dataclass(frozen=True)
class RawFile:
    """What ``layout.json`` says: the name of the file of ratings beside it, and how to read it."""

    file: str
    layout: Layout


class Source(Protocol):
    """A place that ratings come from."""

    def location(self, domain: str) -> Location:
        """Where the ratings of ``domain`` are."""
        ...

    def layout(self, path: Path) -> Layout:
        """How the fetched file ``path`` is to be read."""
        ...


def local(folder: str, path: Path, sha256: str | None) -> Local:
    """``path``, copied below ``folder``, apart from other places' files of that name."""
    return Local(f"{folder}/{place_digest(str(path.absolute()))}/{path.name}", path, sha256)


def place_digest(place: str) -> str:
    """A short name for a path or URL."""
    return hashlib.sha256(place.encode()).hexdigest()[:8]
