"""A raw ratings file as dense, validated, k-core filtered ratings."""

from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from metaem_core.data.filtering import latest, peel
from metaem_core.data.ratings import RatingScale
from tasks.sources.base import Columns, Layout
from tasks.sources.columns import FIELDS, UNRATED, BadHeader, RawBlock, raw_blocks
from tasks.sources.lines import ReadLimits

EXAMPLES = 5
UNKNOWN_TIME = np.iinfo(np.int64).min  # earlier than every known time
Bad = tuple[int, str, str]  # line, reason, text


class BadRatings(ValueError):
    """Lines that are no ratings, met while reading strictly.

    The message is safe to log: it has line numbers, no ratings. ``details`` quotes lines.
    """

    def __init__(self, path: Path, counts: dict[str, int], examples: list[Bad]) -> None:
        self.path, self.counts, self.examples = path, counts, examples
        lines = ", ".join(str(line) for line, _, _ in examples)
        remedy = "declare their scale (--set scale.low=0.5 --set scale.step=0.5)"
        if {*counts} == {"blank_rating"}:
            remedy = "read them as choices (--set feedback=choices)"
        super().__init__(
            f"{path.name}: {sum(counts.values())} lines are no valid ratings "
            f"({', '.join(f'{why} {count}' for why, count in counts.items())}), first in line "
            f"{lines}: correct them, {remedy}, or drop and count them (--set strict=false)"
        )

    def __reduce__(self) -> tuple[object, ...]:
        """Its arguments, so that it survives pickling on the way out of another process."""
        return type(self), (self.path, self.counts, self.examples)

    def details(self) -> list[str]:
        """The first bad lines, for the eyes of the ratings' owner."""
        return [f"line {line}: {why}: {text!r}" for line, why, text in self.examples]


@dataclass(frozen=True)
class FilteredRatings:
    """A domain's ratings by dense index; an index is a row number of ``users`` or ``items``."""

    users: pl.DataFrame  # user_id, ascending
    items: pl.DataFrame  # item_id, ascending
    ratings: pl.DataFrame  # user u32, item u32, rating f32, timestamp i64; by user, item
    counts: dict[str, int]  # the row of FilterCounts: what was read, dropped and why, and is left


def read_ratings(
    path: Path,
    layout: Layout,
    scale: RatingScale | None,
    k: int = 5,
    strict: bool = True,
    limits: ReadLimits = ReadLimits(),  # noqa: B008 immutable
) -> FilteredRatings:
    """Read ``path``; one rating per (user, item), then only those in the ``k``-core.

    Of a pair's ratings the latest counts, and of equally late ones the highest. ``strict`` refuses
    a file with invalid lines, otherwise they are dropped and counted. The result does not depend
    on the order of the lines. Without a ``scale`` every line is a choice, whatever it is rated,
    and counts as 1.
    """
    layout = _with_ratings(path, layout) if scale else _of_choices(layout)
    tally = _Tally()
    # numbers in no particular order; the columns keep this numbering alive
    ids = {name: pl.Categorical(pl.Categories.random()) for name in ("user_id", "item_id")}
    blocks = [
        tally.valid(block, scale).with_columns(pl.col(id_).cast(ids[id_]) for id_ in ids)
        for block in _ahead(raw_blocks(path, layout, limits))
    ]
    if strict and tally.dropped:
        raise BadRatings(path, dict(tally.dropped), tally.examples)
    if tally.lines == sum(tally.dropped.values()):
        raise ValueError(f"{path.name}: no rating among its {tally.lines} lines")
    return _filtered(path, pl.concat(blocks), k, tally)


def _with_ratings(path: Path, layout: Layout) -> Layout:
    if layout.columns.rating is None:
        raise BadHeader(f"{path.name}: files.columns.rating names no column{UNRATED}")
    return layout


def _of_choices(layout: Layout) -> Layout:
    """A column of ratings that was named on purpose has to exist, the usual one need not."""
    usual = layout.columns.rating == Columns().rating
    return replace(layout, columns=replace(layout.columns, rating=None)) if usual else layout


def _ahead(blocks: Iterator[RawBlock]) -> Iterator[RawBlock]:
    """The blocks; the next one is inflated and parsed while the caller works on this one."""
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(next, blocks, None)
        while (block := pending.result()) is not None:
            pending = pool.submit(next, blocks, None)
            yield block


@dataclass
class _Tally:
    """The lines seen so far and the bad ones among them."""

    lines: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    examples: list[Bad] = field(default_factory=list)

    def valid(self, block: RawBlock, scale: RatingScale | None) -> pl.DataFrame:
        """The block's good rows, as numbers."""
        frame, faults = block.frame, _faults(scale)
        self.lines += frame.height
        bad = frame.select(bad=pl.any_horizontal(*faults.values()))["bad"]
        if bad.any():
            reasons = [pl.when(fault).then(pl.lit(why)) for why, fault in faults.items()]
            rows = frame.with_row_index("line").filter(bad)
            rows = rows.select("line", why=pl.coalesce(reasons))
            self.dropped.update(rows["why"].to_list())
            for line, why in rows.head(EXAMPLES - len(self.examples)).iter_rows():
                self.examples.append((block.first_line + line, why, block.text(line)[:200]))
            frame = frame.filter(~bad)
        return frame.select(
            "user_id",
            "item_id",
            pl.col("rating").cast(pl.Float32) if scale else pl.lit(1, pl.Float32).alias("rating"),
            pl.col("timestamp").cast(pl.Int64, strict=False),  # blank: unknown
        )


def _faults(scale: RatingScale | None) -> dict[str, pl.Expr]:
    """Why a row is no rating, or no choice; the first that holds is its reason."""
    read = FIELDS if scale else [name for name in FIELDS if name != "rating"]
    faults = {
        "malformed": pl.all_horizontal(pl.col(*read).is_null()),
        "blank_id": _blank("user_id") | _blank("item_id"),
        **(_rating_faults(scale) if scale else {}),
        "bad_timestamp": ~_blank("timestamp")
        & pl.col("timestamp").cast(pl.Int64, strict=False).is_null(),
    }
    return {why: fault.fill_null(False) for why, fault in faults.items()}


def _rating_faults(scale: RatingScale) -> dict[str, pl.Expr]:
    number = pl.col("rating").cast(pl.Float64, strict=False)
    steps = (number - scale.low) / scale.step
    on_scale = number.is_between(scale.low, scale.high) & ((steps - steps.round()).abs() < 1e-6)
    return {
        "blank_rating": _blank("rating"),
        "not_a_number": number.is_null(),
        "not_finite": ~number.is_finite(),
        "off_scale": ~on_scale,
    }


def _blank(name: str) -> pl.Expr:
    return pl.col(name).str.strip_chars().fill_null("") == ""


def _filtered(path: Path, frame: pl.DataFrame, k: int, tally: _Tally) -> FilteredRatings:
    users, items = (frame[name].to_physical().to_numpy() for name in ("user_id", "item_id"))
    times = frame["timestamp"].fill_null(UNKNOWN_TIME).to_numpy()
    single = latest(users, items, frame["rating"].to_numpy(), times)
    ((rounds, rows),) = deque(enumerate(peel(users[single], items[single], k)), maxlen=1)
    kept = frame[single[rows]]
    if kept.is_empty():
        raise ValueError(
            f"{path.name}: none of {len(single)} ratings is in the {k}-core: lower k or add ratings"
        )
    user_ids, user = _dense(kept["user_id"])
    item_ids, item = _dense(kept["item_id"])
    ratings = pl.DataFrame(
        {"user": user, "item": item, "rating": kept["rating"], "timestamp": kept["timestamp"]}
    ).sort("user", "item")
    counts = dict(
        lines=tally.lines,
        **{why: tally.dropped[why] for why in _faults(RatingScale())},
        duplicates=frame.height - len(single),
        k_core_removed=len(single) - len(rows),
        twins_removed=0,
        rounds=rounds,
        users=len(user_ids),
        items=len(item_ids),
        ratings=len(ratings),
    )
    return FilteredRatings(
        user_ids.to_frame("user_id"), item_ids.to_frame("item_id"), ratings, counts
    )


def _dense(ids: pl.Series) -> tuple[pl.Series, NDArray[np.uint32]]:
    """The distinct ids, ascending, and each row's position among them."""
    distinct = ids.unique()
    names = distinct.cast(pl.String)
    order = names.arg_sort()
    codes, physical = distinct.to_physical()[order].to_numpy(), ids.to_physical().to_numpy()
    rank = np.zeros(int(codes.max()) + 1, dtype=np.uint32)
    rank[codes] = np.arange(len(codes), dtype=np.uint32)
    return names[order], rank[physical]
