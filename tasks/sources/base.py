"""What a source of ratings has to say: where a domain's file is and how to read it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, Protocol

LAYOUT = "layout.json"


def _check_name(name: str) -> None:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or {"..", "."} & set(name.split("/")) or "\0" in name:
        raise ValueError(f"file name {name!r} leaves the download folder: use a plain name")


@dataclass(frozen=True)
class Remote:
    """A file on HTTP servers, tried in order; ``name`` is its path in the download folder."""

    name: str
    urls: tuple[str, ...]
    sha256: str | None = None

    def __post_init__(self) -> None:
        _check_name(self.name)
        for url in self.urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"{url!r} is neither http nor https: give a URL or a local path")


@dataclass(frozen=True)
class Local:
    """A file on this machine, copied to ``name`` in the download folder."""

    name: str
    path: Path
    sha256: str | None = None

    def __post_init__(self) -> None:
        _check_name(self.name)


@dataclass(frozen=True)
class Generated:
    """A file that is computed: the same ``name`` always gets the same ratings."""

    name: str
    write: Callable[[BinaryIO], None]

    def __post_init__(self) -> None:
        _check_name(self.name)


Location = Remote | Local | Generated


@dataclass(frozen=True)
class Columns:
    """The names under which a file keeps the facts of a rating; it may have no timestamp."""

    user: str = "user_id"
    item: str = "item_id"
    rating: str = "rating"
    timestamp: str | None = "timestamp"

    def names(self) -> list[str]:
        """The names in the order user, item, rating, timestamp."""
        return [self.user, self.item, self.rating, *filter(None, [self.timestamp])]


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


def on_mirrors(mirrors: tuple[str, ...], file: str, name: str, sha256: str | None) -> Location:
    """``file`` below each of ``mirrors``: base URLs, or one local folder."""
    if not mirrors:
        raise ValueError(f"no mirror given for {file!r}: name at least one base URL or folder")
    if "://" not in mirrors[0]:
        return local(str(PurePosixPath(name).parent), Path(mirrors[0]) / file, sha256)
    return Remote(name, tuple(f"{mirror.rstrip('/')}/{file}" for mirror in mirrors), sha256)
