"""Amazon reviews up to 2018: 5-core reviews, or all ratings without text."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tasks.sources.amazon import REVIEW_COLUMNS, category
from tasks.sources.base import Columns, Layout, Location, on_mirrors

BASES = (
    "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2/categoryFilesSmall",
    "https://jmcauley.ucsd.edu/data/amazon_v2/categoryFilesSmall",
)
# unlike 2014's, this release's ratings name the item first
RATINGS = Layout("delimited", Columns(), header=("item_id", "user_id", "rating", "timestamp"))


@dataclass(frozen=True)
class Amazon2018:
    """``ratings_only`` reads the complete ratings file, not the 5-core reviews."""

    mirrors: tuple[str, ...] = BASES
    ratings_only: bool = False
    sha256: Mapping[str, str] = field(default_factory=dict)  # domain -> pinned digest

    def location(self, domain: str) -> Location:
        """``<Category>.csv`` or ``<Category>_5.json.gz``."""
        file = category(domain) + (".csv" if self.ratings_only else "_5.json.gz")
        return on_mirrors(self.mirrors, file, f"amazon-2018/{file}", self.sha256.get(domain))

    def layout(self, path: Path) -> Layout:
        """Header-less CSV or one JSON object a line."""
        return RATINGS if self.ratings_only else Layout("json-lines", REVIEW_COLUMNS)
