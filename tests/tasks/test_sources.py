import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from metaem_core.data.ratings import RatingScale
from metaem_core.synthetic.world import SyntheticConfig, generate
from tasks.sources.amazon import CATEGORIES, Amazon2014, Amazon2018, Amazon2023
from tasks.sources.base import Columns, Local, Remote, Source
from tasks.sources.fetch import fetch
from tasks.sources.files import Files
from tasks.sources.http import DownloadLimits
from tasks.sources.read import FilteredRatings, read_ratings
from tasks.sources.synthetic import Synthetic, amazon_ids
from tests.support.amazon_files import (
    write_amazon_2014_csv,
    write_amazon_2014_json,
    write_amazon_2018_csv,
    write_amazon_2023_csv,
)
from tests.support.loopback import loopback

LIMITS = DownloadLimits(attempts=1)
Write = Callable[[pl.DataFrame, Path], None]
Release = type[Amazon2014 | Amazon2018 | Amazon2023]
FORMATS: dict[str, tuple[Release, dict[str, bool], Write]] = {
    "2014": (Amazon2014, {}, write_amazon_2014_json),
    "2014-ratings": (Amazon2014, {"ratings_only": True}, write_amazon_2014_csv),
    "2018": (Amazon2018, {}, write_amazon_2014_json),
    "2018-ratings": (Amazon2018, {"ratings_only": True}, write_amazon_2018_csv),
    "2023": (Amazon2023, {}, write_amazon_2023_csv),
}

# the index pages of the three releases, as published
SNAP = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
UCSD = "https://mcauleylab.ucsd.edu/public_datasets/data"
COMMON = """Automotive Books CDs_and_Vinyl Cell_Phones_and_Accessories Clothing_Shoes_and_Jewelry
    Digital_Music Electronics Grocery_and_Gourmet_Food Home_and_Kitchen Kindle_Store Movies_and_TV
    Musical_Instruments Office_Products Patio_Lawn_and_Garden Pet_Supplies Sports_and_Outdoors
    Tools_and_Home_Improvement Toys_and_Games Video_Games"""
SINCE_2018 = """All_Beauty Appliances Arts_Crafts_and_Sewing Gift_Cards Industrial_and_Scientific
    Magazine_Subscriptions Software"""
PUBLISHED = {
    f"{SNAP}/reviews_*_5.json.gz": f"""{COMMON} Amazon_Instant_Video Apps_for_Android Baby Beauty
        Health_and_Personal_Care""",
    f"{UCSD}/amazon_v2/categoryFilesSmall/*_5.json.gz": f"""{COMMON} {SINCE_2018} AMAZON_FASHION
        Luxury_Beauty Prime_Pantry""",
    f"{UCSD}/amazon_2023/benchmark/5core/rating_only/*.csv.gz": f"""{COMMON} {SINCE_2018}
        Amazon_Fashion Baby_Products Beauty_and_Personal_Care Handmade_Products
        Health_and_Household Health_and_Personal_Care Subscription_Boxes""",
}


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    generator = np.random.default_rng(0)
    rows = 4_000
    columns = {
        "user_id": pl.Series([f"A{n:013d}" for n in generator.integers(0, 300, rows)]),
        "item_id": pl.Series([f"{n:010d}" for n in generator.integers(0, 200, rows)]),
        "rating": generator.integers(1, 6, rows).astype(np.float64),
        "timestamp": pl.Series([None if n % 9 == 0 else 1_300_000_000 + n for n in range(rows)]),
    }
    return pl.DataFrame(columns).unique(["user_id", "item_id"], keep="first", maintain_order=True)


def fetched(source: Source, domain: str, folder: Path) -> FilteredRatings:
    path = fetch(source.location(domain), folder, LIMITS, folder / "downloads.lock.json")
    return read_ratings(path, source.layout(path), RatingScale(), k=0)


def named(result: FilteredRatings) -> pl.DataFrame:
    users, items = result.users["user_id"], result.items["item_id"]
    return result.ratings.select(
        user_id=users.gather(result.ratings["user"]),
        item_id=items.gather(result.ratings["item"]),
        rating=pl.col("rating").cast(pl.Float64),
        timestamp="timestamp",
    )


@pytest.mark.parametrize("release", FORMATS)
def test_every_release_is_fetched_and_read_back(
    release: str, frame: pl.DataFrame, tmp_path: Path
) -> None:
    make, options, write = FORMATS[release]
    with loopback() as server:
        source = make(mirrors=(server.url,), **options)  # type: ignore[arg-type]
        location = source.location("music")
        assert isinstance(location, Remote)
        write(frame, tmp_path / "upstream")
        path = location.urls[0].removeprefix(server.url)
        server.files[path] = (tmp_path / "upstream").read_bytes()
        result = fetched(source, "music", tmp_path / release)
    assert_frame_equal(named(result), frame.sort("user_id", "item_id"))


def test_a_mirror_may_be_a_folder(frame: pl.DataFrame, tmp_path: Path) -> None:
    write_amazon_2014_csv(frame, tmp_path / "ratings_Books.csv")
    source = Amazon2014((str(tmp_path),), ratings_only=True)
    assert isinstance(source.location("book"), Local)
    assert fetched(source, "book", tmp_path / "data").counts["ratings"] == frame.height


def test_every_published_file_has_its_domain() -> None:
    offered: list[str] = []
    for source, (address, names) in zip(
        (Amazon2014(), Amazon2018(), Amazon2023()), PUBLISHED.items(), strict=True
    ):
        for name in names.split():
            location = source.location(name.lower())
            assert isinstance(location, Remote)
            assert location.urls[0] == address.replace("*", name)
            offered.append(name.lower())
    assert {*CATEGORIES} == {*offered, "movie", "music", "book"}


def test_releases_do_not_share_file_names() -> None:
    amazon = (make(**options) for make, options, _ in FORMATS.values())  # type: ignore[arg-type]
    sources: list[Source] = [*amazon, Synthetic()]
    names = {source.location(domain).name for source in sources for domain in ("movie", "book")}
    assert len(names) == 2 * len(sources)


@pytest.mark.parametrize(
    "source", [Amazon2014(), Amazon2018(), Amazon2023(), Synthetic(), Files({"movie": "m.csv"})]
)
def test_an_unknown_domain_is_named(source: Source) -> None:
    with pytest.raises(ValueError, match=r"'game'.*'movie'"):
        source.location("game")


@pytest.mark.parametrize("release", [Amazon2014, Amazon2018, Amazon2023])
def test_a_category_can_be_pinned_and_has_a_short_name(release: Release) -> None:
    source = release(sha256={"music": "0" * 64})
    music = source.location("music")
    assert isinstance(music, Remote)
    assert music.sha256 == "0" * 64
    assert source.location("cds_and_vinyl").name == music.name


OWN = Columns("who", "what", "stars", "at")


def write_own(frame: pl.DataFrame, path: Path) -> None:
    own = frame.rename(dict(zip(frame.columns, ["who", "what", "stars", "at"], strict=True)))
    own = own.select("who", pl.lit("x").alias("other"), "stars", "at", "what")
    if path.suffix == ".parquet":
        return own.write_parquet(path)
    if ".json" in path.name or ".ndjson" in path.name:
        text = own.write_ndjson()
    else:
        text = own.write_csv(separator="\t" if ".tsv" in path.name else ",", include_bom=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


@pytest.mark.parametrize(
    "name",
    ["r.csv", "r.csv.gz", "r.tsv", "r.tsv.gz", "r.jsonl", "r.ndjson.gz", "r.json", "r.parquet"],
)
def test_own_files_are_read_by_column_names(frame: pl.DataFrame, name: str, tmp_path: Path) -> None:
    write_own(frame, tmp_path / name)
    result = fetched(Files({"mine": str(tmp_path / name)}, OWN), "mine", tmp_path / "data")
    assert_frame_equal(named(result), frame.sort("user_id", "item_id"))


def test_own_files_may_lack_a_header_and_times(frame: pl.DataFrame, tmp_path: Path) -> None:
    pairs = frame.select("item_id", "rating", "user_id")
    pairs.write_csv(tmp_path / "bare.csv", include_header=False)
    columns = Columns("u", "i", "r", None)
    source = Files({"mine": str(tmp_path / "bare.csv")}, columns, header=("i", "r", "u"))
    result = named(fetched(source, "mine", tmp_path / "data"))
    assert_frame_equal(result.drop("timestamp"), frame.drop("timestamp").sort("user_id", "item_id"))
    assert result["timestamp"].null_count() == frame.height


def test_own_tables_with_numbers_and_dates_are_read(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": [7, 8], "item_id": [1, 1], "rating": [4, 5]})
    dates = pl.Series("timestamp", ["2020-01-02", None]).str.to_datetime("%Y-%m-%d")
    frame.with_columns(dates).write_parquet(tmp_path / "r.parquet")
    result = named(fetched(Files({"m": str(tmp_path / "r.parquet")}), "m", tmp_path / "data"))
    assert result.rows() == [("7", "1", 4.0, 1577923200_000_000), ("8", "1", 5.0, None)]


def test_own_files_may_be_remote(frame: pl.DataFrame, tmp_path: Path) -> None:
    with loopback() as server:
        write_own(frame, tmp_path / "r.csv")
        server.files["/some/r.csv?raw=1"] = (tmp_path / "r.csv").read_bytes()
        source = Files({"mine": f"{server.url}/some/r.csv?raw=1"}, OWN)
        assert fetched(source, "mine", tmp_path / "data").counts["ratings"] == frame.height


@pytest.mark.parametrize("name", ["r.xlsx", "r", "r.parquet.gz", "r.gz"])
def test_an_unknown_kind_of_file_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"unknown kind of file '{name}'"):
        Files({}).layout(Path(name))


@pytest.fixture(scope="module")
def world() -> SyntheticConfig:
    return SyntheticConfig(seed=3, growth=0.1)


def test_the_synthetic_world_is_read_back(world: SyntheticConfig, tmp_path: Path) -> None:
    made = generate(world, "movie")
    result = named(fetched(Synthetic(world), "movie", tmp_path))
    expected = pl.DataFrame(
        {
            "user_id": amazon_ids("A", 14, made.users),
            "item_id": amazon_ids("B", 10, made.items),
            "rating": made.values.astype(np.float64),
            "timestamp": made.timestamps,
        }
    )
    assert_frame_equal(result, expected.sort("user_id", "item_id"))


def test_the_synthetic_file_is_the_same_every_time(world: SyntheticConfig, tmp_path: Path) -> None:
    location = Synthetic(world).location("music")
    first, second = (
        fetch(location, tmp_path / name, LIMITS, tmp_path / "lock.json").read_bytes()
        for name in "ab"
    )
    assert first == second
    assert first[4:8] == bytes(4), "the gzip header tells the time"
    other = Synthetic(SyntheticConfig(seed=4, growth=0.1)).location("music")
    assert other.name != location.name


def test_amazon_ids_are_distinct_and_ordered_like_the_numbers() -> None:
    numbers = np.array([0, 35, 36, 36, 10**9, 2**46])
    ids = amazon_ids("A", 14, numbers)
    assert ids.str.len_bytes().to_list() == [14] * 6
    assert ids.to_list() == sorted(ids)
    assert ids.n_unique() == 5
    assert ids[2] == "A0000000000010"
