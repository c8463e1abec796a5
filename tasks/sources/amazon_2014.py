"""Amazon reviews up to 2014: 5-core reviews, or all ratings without text."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tasks.sources.amazon import REVIEW_COLUMNS, category
from tasks.sources.base import Columns, Layout, Location, on_mirrors

BASE = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
RATINGS = Layout("delimited", Columns(), header=("user_id", "item_id", "rating", "timestamp"))


@dataclass(frozen=True)
class Amazon2014:
    """``ratings_only`` reads the complete ratings file, not the 5-core reviews."""

    mirrors: tuple[str, ...] = (BASE,)
    ratings_only: bool = False
    sha256: Mapping[str, str] = field(default_factory=dict)  # domain -> pinned digest

    def location(self, domain: str) -> Location:
        """``ratings_<Category>.csv`` or ``reviews_<Category>_5.json.gz``."""
        name = category(domain)
        file = f"ratings_{name}.csv" if self.ratings_only else f"reviews_{name}_5.json.gz"
        return on_mirrors(self.mirrors, file, f"amazon-2014/{file}", self.sha256.get(domain))

    def layout(self, path: Path) -> Layout:
        """Header-less CSV or one JSON object a line."""
        return RATINGS if self.ratings_only else Layout("json-lines", REVIEW_COLUMNS)
