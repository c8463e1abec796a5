"""Your own ratings: one file a domain, in any of the usual formats."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from tasks.sources.base import Columns, Layout, Location, Remote, local, place_digest

SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = {".json", ".jsonl", ".ndjson"}


@dataclass(frozen=True)
class Files:
    """``files`` gives each domain's path or URL, ``columns`` the names to look for in it.

    ``header`` names the fields of CSV and TSV files whose first line is already a rating.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    columns: Columns = field(default_factory=Columns)
    header: tuple[str, ...] | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)  # domain -> pinned digest

    def location(self, domain: str) -> Location:
        """The file given for ``domain``."""
        if domain not in self.files:
            raise ValueError(
                f"no file given for domain {domain!r}: use one of {sorted(self.files)}"
            )
        place, pinned = self.files[domain], self.sha256.get(domain)
        if "://" not in place:
            return local(f"files/{domain}", Path(place), pinned)
        file = PurePosixPath(urlsplit(place).path).name
        return Remote(f"files/{domain}/{place_digest(place)}/{file}", (place,), pinned)

    def layout(self, path: Path) -> Layout:
        """By the name: .csv .tsv .json .jsonl .ndjson (each also .gz) or .parquet."""
        suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
        if suffix in SEPARATORS:
            return Layout("delimited", self.columns, SEPARATORS[suffix], self.header)
        if suffix in JSON_LINES:
            return Layout("json-lines", self.columns)
        if suffix == ".parquet" and path.suffix != ".gz":
            return Layout("parquet", self.columns)
        known = [*SEPARATORS, *sorted(JSON_LINES), ".parquet"]
        raise ValueError(f"unknown kind of file {path.name!r}: rename it to one of {known}")
