"""A block of text, or a Parquet file, as the columns user_id, item_id, rating and timestamp.

All four are strings, null where the file says nothing; judging them is left to the reader. One row
a line, so that a row's position is its line number.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import polars.selectors as cs
from polars.exceptions import PolarsError

from tasks.sources.base import Columns, Layout
from tasks.sources.lines import Block, DamagedFile, ReadLimits, line_blocks

FIELDS = ("user_id", "item_id", "rating", "timestamp")
PARQUET_ROWS = 1 << 19
UNRATED = "; if the file holds choices without ratings, --set feedback=choices"


class BadHeader(ValueError):
    """Columns that ratings cannot be read from. A header may be a rating: ``details`` quotes it."""

    def __init__(self, message: str, names: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.names = list(names)

    def details(self) -> list[str]:
        """What the file calls its columns, for the eyes of the ratings' owner."""
        return [f"its columns: {self.names!r}"]


@dataclass(frozen=True)
class RawBlock:
    """Some rows as they stand in the file; ``text`` quotes one of them for an error message."""

    frame: pl.DataFrame
    first_line: int
    text: Callable[[int], str]


def raw_blocks(path: Path, layout: Layout, limits: ReadLimits) -> Iterator[RawBlock]:
    """The file's rows, block by block."""
    if layout.kind == "parquet":
        return _parquet(path, layout.columns)
    if layout.kind == "json-lines":
        return _json_lines(path, layout.columns, limits)
    return _delimited(path, layout, limits)


def _delimited(path: Path, layout: Layout, limits: ReadLimits) -> Iterator[RawBlock]:
    header = layout.header
    for block in line_blocks(path, limits):
        if header is None:
            first, _, rest = block.data.partition(b"\n")
            header = tuple(_split(first.removeprefix(b"\xef\xbb\xbf"), layout.separator) or ())
            block = Block(rest, block.first_line + 1, block.lines - 1)
        _require(path, layout.columns, header)
        if block.lines:
            frame = _delimited_frame(block, header, layout)
            yield RawBlock(frame, block.first_line, _line_text(block))


def _delimited_frame(block: Block, header: Sequence[str], layout: Layout) -> pl.DataFrame:
    try:
        frame = pl.read_csv(
            block.data,
            has_header=False,
            schema=dict.fromkeys(header, pl.String),
            separator=layout.separator,
        )
    except PolarsError:
        frame = pl.DataFrame()
    if frame.height != block.lines:
        # a line with too many fields, stray quotes or bytes that are no text: look at each line
        rows = [_split(line, layout.separator) for line in block.data.splitlines()]
        whole = [row if row and len(row) == len(header) else [None] * len(header) for row in rows]
        frame = pl.DataFrame(whole, dict.fromkeys(header, pl.String), orient="row")
    return _named(frame, layout.columns)


def _split(line: bytes, separator: str) -> list[str] | None:
    try:
        return next(
            csv.reader([line.decode().rstrip("\r")], delimiter=separator, strict=True), None
        )
    except (UnicodeDecodeError, csv.Error):
        return None


def _json_lines(path: Path, columns: Columns, limits: ReadLimits) -> Iterator[RawBlock]:
    for block in line_blocks(path, limits):
        yield RawBlock(_json_frame(block, columns), block.first_line, _line_text(block))


def _json_frame(block: Block, columns: Columns) -> pl.DataFrame:
    schema = dict.fromkeys(columns.names(), pl.String)
    try:
        frame = pl.read_ndjson(io.BytesIO(block.data), schema=schema)
    except PolarsError:
        frame = pl.DataFrame()
    if frame.height != block.lines:
        rows = [_fields(line, columns) for line in block.data.splitlines()]
        frame = pl.DataFrame(rows, schema, orient="row")
    return _named(frame, columns)


def _fields(line: bytes, columns: Columns) -> list[str | None]:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    values = [record.get(name) if isinstance(record, dict) else None for name in columns.names()]
    return [None if value is None else str(value) for value in values]


def _parquet(path: Path, columns: Columns) -> Iterator[RawBlock]:
    try:
        yield from _parquet_rows(path, columns)
    except PolarsError:  # its text may quote ratings
        raise DamagedFile(f"{path}: no readable Parquet of plain columns: write it again") from None


def _parquet_rows(path: Path, columns: Columns) -> Iterator[RawBlock]:
    table = pl.scan_parquet(path)
    _require(path, columns, table.collect_schema().names())
    wanted = cs.by_name(columns.names(), require_all=False)
    numbers = table.select(wanted).with_columns(cs.temporal().cast(pl.Int64))
    rows = numbers.select(pl.len()).collect().item()
    for start in range(0, rows, PARQUET_ROWS):
        batch = numbers.slice(start, PARQUET_ROWS).collect()
        frame = _named(batch.cast(pl.String), columns)
        yield RawBlock(frame, start + 1, _row_text(frame))


def _require(path: Path, columns: Columns, names: Sequence[str]) -> None:
    needed = {"user": columns.user, "item": columns.item, "rating": columns.rating}
    for field, name in needed.items():
        if name is not None and name not in names:
            raise BadHeader(
                f"{path.name}: no column {name!r}: say which column holds the {field}, "
                f"--set files.columns.{field}=NAME{UNRATED if field == 'rating' else ''}",
                names,
            )
    if len({*names}) < len(names):
        raise BadHeader(f"{path.name}: two columns of one name: rename one", names)


def _named(frame: pl.DataFrame, columns: Columns) -> pl.DataFrame:
    rating, timestamp = (
        pl.col(name) if name is not None and name in frame.columns else pl.lit(None, pl.String)
        for name in (columns.rating, columns.timestamp)
    )
    return frame.select(
        user_id=columns.user, item_id=columns.item, rating=rating, timestamp=timestamp
    )


def _line_text(block: Block) -> Callable[[int], str]:
    def text(offset: int) -> str:
        return block.data.split(b"\n", offset + 1)[offset].decode(errors="replace").rstrip("\r")

    return text


def _row_text(frame: pl.DataFrame) -> Callable[[int], str]:
    return lambda offset: str(frame.row(offset))
