"""Amazon's reviews in three releases: up to 2014, 2018 and 2023."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tasks.sources.base import Columns, Layout, Location, Remote, local

NAMES = """
    All_Beauty Amazon_Fashion Amazon_Instant_Video Appliances Apps_for_Android
    Arts_Crafts_and_Sewing Automotive Baby Baby_Products Beauty Beauty_and_Personal_Care Books
    CDs_and_Vinyl Cell_Phones_and_Accessories Clothing_Shoes_and_Jewelry Digital_Music Electronics
    Gift_Cards Grocery_and_Gourmet_Food Handmade_Products Health_and_Household
    Health_and_Personal_Care Home_and_Kitchen Industrial_and_Scientific Kindle_Store Luxury_Beauty
    Magazine_Subscriptions Movies_and_TV Musical_Instruments Office_Products
    Patio_Lawn_and_Garden Pet_Supplies Prime_Pantry Software Sports_and_Outdoors Subscription_Boxes
    Tools_and_Home_Improvement Toys_and_Games Video_Games
"""  # of all releases together: some have no file in one of them
SHORT = {"movie": "Movies_and_TV", "music": "CDs_and_Vinyl", "book": "Books"}
CATEGORIES = SHORT | {name.lower(): name for name in NAMES.split()}  # by domain

REVIEWS = Layout("json-lines", Columns("reviewerID", "asin", "overall", "unixReviewTime"))
RATINGS_2014 = Layout("delimited", Columns(), header=("user_id", "item_id", "rating", "timestamp"))
RATINGS_2018 = Layout("delimited", Columns(), header=("item_id", "user_id", "rating", "timestamp"))
RATINGS_2023 = Layout("delimited", Columns(item="parent_asin"))  # timestamps in milliseconds

BASE_2014 = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
BASES_2018 = (
    "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2/categoryFilesSmall",
    "https://jmcauley.ucsd.edu/data/amazon_v2/categoryFilesSmall",
)
BASE_2023 = "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/benchmark"


def category(domain: str) -> str:
    """The category of a domain: ``movie``, ``music``, ``book``, or its own name in lower case."""
    if domain not in CATEGORIES:
        raise ValueError(f"no amazon category for domain {domain!r}: use one of {[*CATEGORIES]}")
    return CATEGORIES[domain]


def on_mirrors(mirrors: tuple[str, ...], file: str, folder: str, sha256: str | None) -> Location:
    """``file`` below each of ``mirrors``: base URLs, or one local folder."""
    if not mirrors:
        raise ValueError(f"no mirror given for {file!r}: name at least one base URL or folder")
    if "://" not in mirrors[0]:
        return local(folder, Path(mirrors[0]) / file, sha256)
    urls = tuple(f"{mirror.rstrip('/')}/{file}" for mirror in mirrors)
    return Remote(f"{folder}/{PurePosixPath(file).name}", urls, sha256)


@dataclass(frozen=True)
class Amazon2014:
    """The 5-core reviews, or with ``ratings_only`` all ratings without text."""

    mirrors: tuple[str, ...] = (BASE_2014,)
    ratings_only: bool = False
    sha256: Mapping[str, str] = field(default_factory=dict)  # domain -> pinned digest

    def location(self, domain: str) -> Location:
        """``ratings_<Category>.csv`` or ``reviews_<Category>_5.json.gz``."""
        name = category(domain)
        file = f"ratings_{name}.csv" if self.ratings_only else f"reviews_{name}_5.json.gz"
        return on_mirrors(self.mirrors, file, "amazon-2014", self.sha256.get(domain))

    def layout(self, path: Path) -> Layout:
        """CSV without a header, or one JSON object a line."""
        return RATINGS_2014 if self.ratings_only else REVIEWS


@dataclass(frozen=True)
class Amazon2018:
    """The 5-core reviews, or with ``ratings_only`` all ratings without text."""

    mirrors: tuple[str, ...] = BASES_2018
    ratings_only: bool = False
    sha256: Mapping[str, str] = field(default_factory=dict)  # domain -> pinned digest

    def location(self, domain: str) -> Location:
        """``<Category>.csv`` or ``<Category>_5.json.gz``."""
        name = category(domain).replace("Amazon_Fashion", "AMAZON_FASHION")  # so in this release
        file = name + (".csv" if self.ratings_only else "_5.json.gz")
        return on_mirrors(self.mirrors, file, "amazon-2018", self.sha256.get(domain))

    def layout(self, path: Path) -> Layout:
        """CSV without a header that names the item first, or one JSON object a line."""
        return RATINGS_2018 if self.ratings_only else REVIEWS


@dataclass(frozen=True)
class Amazon2023:
    """The 5-core ratings."""

    mirrors: tuple[str, ...] = (BASE_2023,)
    sha256: Mapping[str, str] = field(default_factory=dict)  # domain -> pinned digest

    def location(self, domain: str) -> Location:
        """``5core/rating_only/<Category>.csv.gz``."""
        file = f"5core/rating_only/{category(domain)}.csv.gz"
        return on_mirrors(self.mirrors, file, "amazon-2023", self.sha256.get(domain))

    def layout(self, path: Path) -> Layout:
        """CSV with a header."""
        return RATINGS_2023
