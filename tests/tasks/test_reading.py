import gzip
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from metaem_core.data.ratings import RatingScale
from tasks.sources.amazon import RATINGS_2014, REVIEWS
from tasks.sources.base import Columns, Layout
from tasks.sources.columns import BadHeader
from tasks.sources.files import Files
from tasks.sources.lines import DamagedFile, ReadLimits
from tasks.sources.read import BadRatings, FilteredRatings, read_ratings

WHOLE_STARS = RatingScale()
SMALL = ReadLimits(block=64, line=1 << 10)


def named(result: FilteredRatings) -> list[tuple[str, str, float, int | None]]:
    """The ratings under their own ids."""
    users, items = result.users["user_id"].to_list(), result.items["item_id"].to_list()
    return [(users[u], items[i], rating, time) for u, i, rating, time in result.ratings.rows()]


def read_text(
    text: str | bytes,
    folder: Path,
    layout: Layout | None = RATINGS_2014,
    k: int = 0,
    strict: bool = True,
    limits: ReadLimits = ReadLimits(),  # noqa: B008 immutable
    scale: RatingScale = WHOLE_STARS,
) -> FilteredRatings:
    """Without a layout, as a file that has a header."""
    path = folder / ("ratings" if layout else "ratings.csv")
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_ratings(path, layout or Files().layout(path), scale, k, strict, limits)


def test_ids_become_sorted_dense_indices(tmp_path: Path) -> None:
    result = read_text("b,y,5.0,3\na,z,1.0, \t\nb,x,2,1\n", tmp_path)
    expected = {
        "user": pl.Series([0, 1, 1], dtype=pl.UInt32),
        "item": pl.Series([2, 0, 1], dtype=pl.UInt32),
        "rating": pl.Series([1, 2, 5], dtype=pl.Float32),
        "timestamp": pl.Series([None, 1, 3], dtype=pl.Int64),
    }
    assert_frame_equal(result.ratings, pl.DataFrame(expected))
    assert result.users.to_dict(as_series=False) == {"user_id": ["a", "b"]}
    assert result.items.to_dict(as_series=False) == {"item_id": ["x", "y", "z"]}


def test_only_the_core_keeps_its_ids(tmp_path: Path) -> None:
    core = [f"u{u},i{i},4,{u}" for u in range(2) for i in range(2)]
    result = read_text("\n".join(["a,a,3,1", "a,i0,3,1", *core]), tmp_path, k=2)
    assert result.users["user_id"].to_list() == ["u0", "u1"]
    assert result.items["item_id"].to_list() == ["i0", "i1"]
    assert result.counts["k_core_removed"] == 2
    assert result.counts["rounds"] == 2


def test_an_empty_core_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^ratings: none of 2 ratings is in the 5-core"):
        read_text("a,x,5,1\nb,x,4,1\n", tmp_path, k=5)


@pytest.mark.parametrize("text", ["", "a,x,9,1\n"])
def test_no_rating_at_all_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"^ratings: no rating among its"):
        read_text(text, tmp_path, strict=False)


def test_the_latest_of_a_pair_counts_and_of_equally_late_ones_the_highest(tmp_path: Path) -> None:
    lines = ["a,x,5,1", "a,x,2,9", "a,x,4,", "b,x,1,7", "b,x,3,7", "c,x,2,", "c,x,1,"]
    expected = [("a", "x", 2.0, 9), ("b", "x", 3.0, 7), ("c", "x", 2.0, None)]
    for order in (lines, lines[::-1], sorted(lines)):
        for limits in (ReadLimits(), ReadLimits(block=8)):
            result = read_text("\n".join(order), tmp_path, limits=limits)
            assert named(result) == expected
            assert result.counts["duplicates"] == 4


BAD = [
    ("a,x,,1", "blank_rating"),
    ("a,x", "blank_rating"),
    ("a,x,five,1", "not_a_number"),
    ("a,x,nan,1", "not_finite"),
    ("a,x,inf,1", "not_finite"),
    ("a,x,0,1", "off_scale"),
    ("a,x,6,1", "off_scale"),
    ("a,x,-1,1", "off_scale"),
    ("a,x,3.7,1", "off_scale"),
    (",x,3,1", "blank_id"),
    ("a,  ,3,1", "blank_id"),
    ("a,x,3,yesterday", "bad_timestamp"),
    ("a,x,3,1,9", "malformed"),
    ("", "malformed"),
    ('"a,x,3,1', "malformed"),
    ("a\udcff,x,3,1", "malformed"),
]
BAD_JSON = [
    ('{"reviewerID": "b", "asin": "x", "overall": NaN}', "not_finite"),
    ('{"reviewerID": "b", "asin": "x", "overall": "bad"}', "not_a_number"),
    ('{"reviewerID": "b", "asin": "x", "overall": null}', "blank_rating"),
    ('{"reviewerID": "", "asin": "x", "overall": 3}', "blank_id"),
    ('{"asin": "x", "overall": 3}', "blank_id"),
    ('{"reviewerID": "b", "asin": "x", "overall": 3', "malformed"),
    ("[1, 2]", "malformed"),
    ("", "malformed"),
]
GOOD_JSON = '{"reviewerID": "a", "asin": "x", "overall": 4.0, "unixReviewTime": 7}'
LINES_OF = [("a,x,4,7", RATINGS_2014, *case) for case in BAD]
LINES_OF += [(GOOD_JSON, REVIEWS, *case) for case in BAD_JSON]


@pytest.mark.parametrize(("good", "layout", "line", "reason"), LINES_OF)
def test_a_bad_line_is_refused_or_dropped_and_counted(
    tmp_path: Path, good: str, layout: Layout, line: str, reason: str
) -> None:
    text = f"{good}\n{line}\n{good}\n".encode(errors="surrogateescape")
    with pytest.raises(BadRatings) as refusal:
        read_text(text, tmp_path, layout)
    assert refusal.value.counts == {reason: 1}
    shown = line.encode(errors="surrogateescape").decode(errors="replace")
    assert refusal.value.examples == [(2, reason, shown)]
    result = read_text(text, tmp_path, layout, strict=False)
    assert named(result) == [("a", "x", 4.0, 7)]
    assert result.counts["lines"] == 3
    assert {why: result.counts[why] for _, why in BAD if result.counts[why]} == {reason: 1}


def test_a_refusal_names_file_count_and_the_first_lines(tmp_path: Path) -> None:
    lines = [f"u{n},x,{'6' if n % 10 == 3 else '5'},1" for n in range(200)]
    with pytest.raises(BadRatings) as refusal:
        read_text("\n".join(lines), tmp_path, limits=SMALL)
    message = str(refusal.value)
    assert message.startswith("ratings: 20 lines are no valid ratings (off_scale 20)")
    assert [line for line, _, _ in refusal.value.examples] == [4, 14, 24, 34, 44]
    assert "in line 4, 14, 24, 34, 44" in message
    assert "u13" not in message, "messages end in logs"
    assert refusal.value.details()[1] == "line 14: off_scale: 'u13,x,6,1'"


def test_lines_are_counted_from_the_header_on(tmp_path: Path) -> None:
    with pytest.raises(BadRatings) as refusal:
        read_text("user_id,item_id,rating,timestamp\na,x,5,1\nb,x,0,1\n", tmp_path, None)
    assert refusal.value.examples == [(3, "off_scale", "b,x,0,1")]


def test_half_stars_are_allowed_when_declared(tmp_path: Path) -> None:
    halves = RatingScale(0.5, 5.0, 0.5)
    result = read_text("a,x,3.5,1\nb,x,0.5,1\n", tmp_path, scale=halves)
    assert result.ratings["rating"].to_list() == [3.5, 0.5]
    with pytest.raises(BadRatings, match="off_scale 1"):
        read_text("a,x,3.7,1\n", tmp_path, scale=halves)


def test_strange_ids_survive(tmp_path: Path) -> None:
    ids = ["=cmd()", "naïve", "💿", "a b", "nul\0", "9" * 400]
    result = read_text("\n".join(f"{name},x,5,1" for name in ids), tmp_path)
    assert result.users["user_id"].to_list() == sorted(ids)


LINES = "".join(f"user{n % 50:04d},item{n % 37:04d},{n % 5 + 1}.0,{n}\n" for n in range(2_000))
PACKED = gzip.compress(LINES.encode())


GARBAGE = (b"x", b"\0" * 100, b"\x1fnot", b"a,b,5,1\n")
CUTS = (3, *range(64, len(PACKED), len(PACKED) // 15), -8, -4, -1)
FLIPS = [(10 + (len(PACKED) - 14) * place // 16, 1 << place % 8) for place in range(16)]
DAMAGED = [(PACKED[:kept], "ends early") for kept in CUTS]
DAMAGED += [(PACKED + garbage, "ends early|incorrect header check") for garbage in GARBAGE]
DAMAGED += [
    (PACKED[:n] + bytes([PACKED[n] ^ bit]) + PACKED[n + 1 :], "ratings") for n, bit in FLIPS
]


@pytest.mark.parametrize(("packed", "message"), DAMAGED, ids=range(len(DAMAGED)))
def test_gzip_cut_flipped_or_followed_by_garbage_is_refused(
    tmp_path: Path, packed: bytes, message: str
) -> None:
    with pytest.raises(DamagedFile, match=message):
        read_text(packed, tmp_path)


@pytest.mark.parametrize("cut", [1, 7, 1_000, len(LINES) - 1])
def test_several_members_are_one_file(tmp_path: Path, cut: int) -> None:
    text = LINES.encode()
    parts = gzip.compress(text[:cut]) + gzip.compress(b"") + gzip.compress(text[cut:])
    assert named(read_text(parts, tmp_path)) == named(read_text(text, tmp_path))


def test_a_bomb_stops_at_the_cap(tmp_path: Path) -> None:
    bomb = gzip.compress(b"\n" * (64 << 20), compresslevel=9)
    with pytest.raises(DamagedFile, match="over 200 times"):
        read_text(bomb, tmp_path)
    with pytest.raises(DamagedFile, match="inflates past 10000 bytes"):
        read_text(PACKED, tmp_path, limits=ReadLimits(inflated=10_000))


def test_a_bomb_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(512):
            file.write(bytes(1 << 20))
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from tasks.sources.lines import DamagedFile, ReadLimits, line_blocks\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: list(line_blocks(Path(sys.argv[1]), ReadLimits(ratio=1 << 40)))\n"
        "except DamagedFile as error: assert 'longer than' in str(error), error\n"
        "else: raise SystemExit('read')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) < 150 << 10  # KiB


@pytest.mark.parametrize("before", ["", "a,x,5,1\n", LINES])
def test_a_long_line_is_refused(tmp_path: Path, before: str) -> None:
    limits = ReadLimits(line=1_000, block=4_000)
    number = before.count("\n") + 1
    fits = f"{'u' * 900},x,5,1\n"
    read_text(before + fits, tmp_path, limits=limits)
    with pytest.raises(DamagedFile, match=f"line {number} is longer than 1000 bytes"):
        read_text(before + "u" * 5_000 + ",x,5,1\n" + fits, tmp_path, limits=limits)


@pytest.mark.parametrize("block", [97, 1_000, 1 << 20])
def test_blocks_do_not_show(tmp_path: Path, block: int) -> None:
    limits = ReadLimits(block=block)
    assert named(read_text(LINES, tmp_path, limits=limits)) == named(read_text(LINES, tmp_path))
    no_last_newline = read_text(PACKED, tmp_path, limits=limits)
    assert no_last_newline.counts["lines"] == 2_000


def test_windows_lines_and_quotes_are_read(tmp_path: Path) -> None:
    result = read_text('"a, ""b""",x,5,1\r\nc,x,4,2\r\n', tmp_path)
    assert named(result) == [('a, "b"', "x", 5.0, 1), ("c", "x", 4.0, 2)]


def test_a_quoted_field_does_not_swallow_lines(tmp_path: Path) -> None:
    with pytest.raises(BadRatings) as refusal:
        read_text('a,x,5,1\n"b,x,5,1\nc",x,5,1\nd,x,9,1\n', tmp_path)
    assert refusal.value.examples == [(2, "malformed", '"b,x,5,1'), (4, "off_scale", "d,x,9,1")]


HEADERS = {
    "user_id,item,rating,timestamp": "no column 'item_id': .* files.columns.item=NAME",
    "a,x,5,1": "no column 'user_id'",
    "": "no column 'user_id'",
    '"user_id,item_id,rating,timestamp': "no column 'user_id'",
    "user_id,user_id,item_id,rating": "two columns of one name",
    "user_id,item_id,rating,,": "two columns of one name",
}


@pytest.mark.parametrize(("header", "message"), HEADERS.items())
def test_a_wrong_header_is_named_and_quoted_apart(
    tmp_path: Path, header: str, message: str
) -> None:
    with pytest.raises(BadHeader, match=message) as refusal:
        read_text(f"{header}\na,x,5,1\n", tmp_path, None)
    assert "'x'" not in str(refusal.value)
    expected = [] if header[:1] in ("", '"') else header.split(",")
    assert refusal.value.details() == [f"its columns: {expected}"]


def test_lines_with_too_many_fields_are_malformed_from_the_first_on(tmp_path: Path) -> None:
    text = "user_id,item_id,rating\na,x,5,1\nb,x,5,1\nb,x,4\n"
    assert read_text(text, tmp_path, None, 1, strict=False).counts["malformed"] == 2


@pytest.mark.parametrize("rating", [None, [5], b"\xff"])
def test_a_parquet_file_of_another_kind_is_refused(tmp_path: Path, rating: object) -> None:
    path = tmp_path / "ratings.parquet"
    path.write_bytes(b"user_id,item_id,rating")
    if rating is not None:
        pl.DataFrame({"user_id": ["a"], "item_id": ["x"], "rating": [rating]}).write_parquet(path)
    with pytest.raises(DamagedFile, match="no readable Parquet"):
        read_ratings(path, Files().layout(path), WHOLE_STARS)


WRITERS = {
    "csv": pl.DataFrame.write_csv,
    "jsonl": pl.DataFrame.write_ndjson,
    "parquet": pl.DataFrame.write_parquet,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_need_not_know_when(tmp_path: Path, kind: str) -> None:
    frame = pl.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "x"], "rating": [5.0, 4.0]})
    path = tmp_path / f"ratings.{kind}"
    WRITERS[kind](frame, path)
    result = read_ratings(path, Files().layout(path), WHOLE_STARS, k=1)
    assert result.ratings["timestamp"].to_list() == [None, None]
    assert result.ratings["rating"].to_list() == [5.0, 4.0]


PLAYS = {"user_id": ["b", "a", "a"], "item_id": ["x", "x", "x"]}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("rated", [{}, {"rating": ["0", "many", None]}])
def test_choices_need_no_rating_and_count_whatever_it_is(
    tmp_path: Path, kind: str, rated: dict[str, list[str | None]]
) -> None:
    path = tmp_path / f"plays.{kind}"
    WRITERS[kind](pl.DataFrame(PLAYS | rated), path)
    result = read_ratings(path, Files().layout(path), None, k=1)
    assert named(result) == [("a", "x", 1.0, None), ("b", "x", 1.0, None)]
    assert (result.counts["lines"], result.counts["duplicates"]) == (3, 1)
    with pytest.raises((BadHeader, BadRatings), match=r"no column|blank_rating|not_a_number") as no:
        read_ratings(path, Files().layout(path), WHOLE_STARS, k=1)
    assert rated or "--set feedback=choices" in str(no.value)


BAD_PLAYS = {",,,": "malformed", ",x,1,1": "blank_id", "a,x,1,noon": "bad_timestamp"}


@pytest.mark.parametrize(("line", "reason"), BAD_PLAYS.items())
def test_a_bad_line_is_no_choice_either(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "plays"
    path.write_text(f"a,x,0,9\n{line}\na,x,4,7\n")
    with pytest.raises(BadRatings, match=f"{reason} 1"):
        read_ratings(path, RATINGS_2014, None, k=1)
    result = read_ratings(path, RATINGS_2014, None, k=1, strict=False)
    assert named(result) == [("a", "x", 1.0, 9)]


def test_a_column_of_ratings_that_is_named_has_to_exist(tmp_path: Path) -> None:
    path = tmp_path / "plays.csv"
    pl.DataFrame(PLAYS).write_csv(path)
    stars = Files(columns=Columns(rating="stars")).layout(path)
    with pytest.raises(BadHeader, match="no column 'stars'"):
        read_ratings(path, stars, None, k=1)
    unnamed = Files(columns=Columns(rating=None)).layout(path)
    with pytest.raises(BadHeader, match="names no column"):
        read_ratings(path, unnamed, WHOLE_STARS, k=1)
    assert read_ratings(path, unnamed, None, k=1).counts["ratings"] == 2
