"""Recommendations by item id, from a recommender artifact and people's histories."""

from dataclasses import dataclass
from typing import TypedDict, cast

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_contracts.recommendations import Recommendations
from metaem_core.data.ratings import Ints, Ratings, RatingScale
from metaem_core.data.user_profile import ProfileStatistics
from metaem_core.models.metaem import DomainModel, domain_of, network
from metaem_core.models.recommender import Recommender, Top
from tasks.store.artifacts import ArtifactRef, Store

TENSORS, ABOUT = "recommender.safetensors", "recommender.json"
FORMAT = 2  # of both files
REASONS = 3  # source items told with a recommendation
_TABLES = ("user_embeddings", "user_profiles", "common_items", "item_offsets", "item_features")
_ARRAYS = (
    "item_bias",
    "popularity",
    "centre",
    "deviation",
)  # of ProfileStatistics; the rest are numbers


class _About(TypedDict):
    """``recommender.json``."""

    format: int
    task: str
    scale: dict[str, float]
    damping: float
    relu_last: dict[str, bool]  # by domain
    statistics: dict[str, object]


@dataclass(frozen=True)
class Opened:
    """A recommender and what its items are called."""

    recommender: Recommender
    task: str
    scale: RatingScale
    source_items: pl.Series  # (n_s,) ascending
    target_items: pl.Series  # (n_t,) ascending

    def unknown(self, histories: pl.DataFrame) -> int:
        """How many of the rated items the source does not have."""
        _, known = _places(self.source_items, histories["item_id"])
        return int((~known).sum())


def packed(made: Recommender) -> tuple[dict[str, Tensor], dict[str, object]]:
    """A recommender as tensors by name and plain data, without any user's row."""
    tensors = {f"mapping.{i}": parameter for i, parameter in enumerate(made.mapping)}
    for side, model in (("source", made.source), ("target", made.target)):
        tables = {name: getattr(model, name) for name in _TABLES}
        tables |= {name: tables[name][:0] for name in ("user_embeddings", "user_profiles")}
        tensors |= {f"{side}.{name}": table for name, table in (tables | model.tensors()).items()}
    statistics = vars(made.statistics)
    tensors |= {f"statistics.{name}": torch.from_numpy(statistics[name]) for name in _ARRAYS}
    numbers = {name: value for name, value in statistics.items() if name not in _ARRAYS}
    sides = {"source": made.source.relu_last, "target": made.target.relu_last}
    about = {"format": FORMAT, "damping": made.damping, "relu_last": sides, "statistics": numbers}
    return tensors, about


def open_recommender(store: Store, ref: ArtifactRef) -> Opened:
    """A recommender artifact, every byte of it verified.

    Raises:
        ValueError: it is damaged, or of a format that this version does not read.
    """
    store.verify(ref)
    about = cast(_About, store.read_json(ref, ABOUT))
    if about["format"] != FORMAT:
        raise ValueError(
            f"{ref} has format {about['format']}, this version reads {FORMAT}: "
            "make it again with `metaem run` and `metaem recommend`, or use the version it is of"
        )
    tensors = store.read_tensors(ref, TENSORS)
    arrays = {name: tensors.pop(f"statistics.{name}").numpy() for name in _ARRAYS}
    average = tuple(cast(list[float], about["statistics"]["average"]))
    numbers = {**about["statistics"], "average": average}
    return Opened(
        Recommender(
            source=_side("source", tensors, about),
            statistics=ProfileStatistics(**arrays, **numbers),  # type: ignore[arg-type]  # as packed
            target=_side("target", tensors, about),
            mapping=network(tensors, "mapping"),
            damping=about["damping"],
        ),
        about["task"],
        RatingScale(**about["scale"]),
        *(
            store.read_frame(ref, f"{side}_items.parquet")["item_id"]
            for side in ("source", "target")
        ),
    )


def recommend(
    opened: Opened, histories: pl.DataFrame, seen: pl.DataFrame, top: int, explain: bool
) -> pl.DataFrame:
    """The best items of the target for each user of ``histories``, as :class:`Recommendations`.

    Items that the source does not have are passed over; who has rated no other gets what the
    average user would.

    Args:
        histories: user_id, item_id, rating of source items, one row a user and item.
        seen: user_id, item_id of target items that a user must not be recommended.
        explain: name the items of the history without which the rating would fall most.

    Raises:
        ValueError: an id is missing, a rating is not on the scale, or an item is rated twice.
    """
    _require_ratings(histories, opened.scale)
    users = histories["user_id"].unique().sort()
    if users.is_empty():
        return Recommendations.create_empty()
    rated = _ratings(opened, histories, users)
    known = _seen(opened, seen, users)
    bounds = np.searchsorted(rated.users, np.arange(len(users) + 1))
    found = []
    for place, best in enumerate(opened.recommender.top(rated, known, top)):
        own = slice(bounds[place], bounds[place + 1])
        why = _because(opened, rated, own, best) if explain else [None] * len(best.items)
        found.append(
            pl.DataFrame(
                {
                    "user_id": pl.repeat(users[place], len(best.items), eager=True),
                    "rank": np.arange(1, len(best.items) + 1, dtype=np.uint32),
                    "item_id": opened.target_items[best.items],
                    "prediction": best.ratings,
                    "because": pl.Series(why, dtype=pl.List(pl.String)),
                }
            )
        )
    return pl.concat(found)


def _side(side: str, tensors: dict[str, Tensor], about: _About) -> DomainModel:
    beginning = f"{side}."
    own = {n.removeprefix(beginning): t for n, t in tensors.items() if n.startswith(beginning)}
    return domain_of(own, about["relu_last"][side], meta_reads_raw=False)


def _require_ratings(histories: pl.DataFrame, scale: RatingScale) -> None:
    rating = pl.col("rating").cast(pl.Float64)
    off = ~rating.is_between(scale.low, scale.high) | ~rating.is_finite()
    bad = histories.filter(pl.any_horizontal(pl.all().is_null(), off.fill_null(True)))
    if bad.height:
        told = f"{bad.height} of {histories.height} rows lack an id or a rating"
        raise ValueError(f"{told} from {scale.low:g} to {scale.high:g}")
    if twice := histories.height - histories.select("user_id", "item_id").n_unique():
        raise ValueError(f"{twice} of {histories.height} rows rate an item again: keep one of each")


def _ratings(opened: Opened, histories: pl.DataFrame, users: pl.Series) -> Ratings:
    user, _ = _places(users, histories["user_id"])
    item, known = _places(opened.source_items, histories["item_id"])
    order = np.lexsort((item, user))
    order = order[known[order]]
    values = histories["rating"].to_numpy().astype(np.float32)
    sizes = len(users), len(opened.source_items)
    return Ratings(user[order], item[order], values[order], *sizes)


def _seen(opened: Opened, seen: pl.DataFrame, users: pl.Series) -> list[Ints]:
    owner, asked = _places(users, seen["user_id"])
    item, known = _places(opened.target_items, seen["item_id"])
    order = np.argsort(owner, kind="stable")
    order = order[(asked & known)[order]]
    return np.split(item[order], np.searchsorted(owner[order], np.arange(1, len(users))))


def _places(ascending: pl.Series, ids: pl.Series) -> tuple[Ints, NDArray[np.bool_]]:
    """The row of each of ``ids``, and whether it is there at all."""
    rows = ascending.search_sorted(ids).to_numpy().astype(np.int64)
    rows = np.minimum(rows, len(ascending) - 1)
    return rows, (ascending.gather(rows) == ids).to_numpy()


def _because(opened: Opened, rated: Ratings, own: slice, best: Top) -> list[list[str]]:
    history = Ratings(
        np.zeros(own.stop - own.start, np.int64),
        rated.items[own],
        rated.values[own],
        1,
        rated.n_items,
    )
    pulls = opened.recommender.pulls(history, best.items)  # (h, B)
    strongest = np.argsort(-pulls, axis=0, kind="stable")[:REASONS]
    return [
        [opened.source_items[int(history.items[row])] for row in rows if pulls[row, place] > 0]
        for place, rows in enumerate(strongest.T)
    ]
