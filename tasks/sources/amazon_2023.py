"""Amazon reviews up to 2023: the 5-core ratings; timestamps are milliseconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tasks.sources.amazon import category
from tasks.sources.base import Columns, Layout, Location, on_mirrors

BASE = "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/benchmark"


@dataclass(frozen=True)
class Amazon2023:
    """The ratings-only benchmark files."""

    mirrors: tuple[str, ...] = (BASE,)
    sha256: Mapping[str, str] = field(default_factory=dict)  # domain -> pinned digest

    def location(self, domain: str) -> Location:
        """``5core/rating_only/<Category>.csv.gz``."""
        file = f"{category(domain)}.csv.gz"
        remote = f"5core/rating_only/{file}"
        return on_mirrors(self.mirrors, remote, f"amazon-2023/{file}", self.sha256.get(domain))

    def layout(self, path: Path) -> Layout:
        """CSV with a header."""
        return Layout("delimited", Columns(item="parent_asin"))
