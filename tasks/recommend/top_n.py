"""Top-N lists of item ids for users, from their histories."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from data_contracts.recommendations import Recommendations
from metaem_core.data.ratings import Ints, Ratings, RatingScale
from metaem_core.models.recommender import Top
from tasks.recommend.artifact import ItemRecommender
from tasks.recommend.histories import Histories

REASONS = 3  # source items named for each recommendation


def count_unknown(model: ItemRecommender, ratings: pl.DataFrame) -> int:
    """The number of ratings of items that the source does not have."""
    _, known = _rows_of(model.source_items, ratings["item_id"])
    return int((~known).sum())


def recommend(
    model: ItemRecommender, histories: Histories, top: int, explain: bool
) -> pl.DataFrame:
    """The best items of the target for each user of ``histories``, as :class:`Recommendations`.

    Items that the source does not have are passed over. A user who has rated no other item gets
    the list of the average user.

    Args:
        histories: at most one rating for each user and item.
        top: the number of items for each user.
        explain: name the items of the history without which the rating would fall most.

    Raises:
        ValueError: an id is missing, a rating is not on the scale, or an item is rated twice.
    """
    _require_ratings(histories.ratings, model.scale)
    users = histories.ratings["user_id"].unique().sort()
    if users.is_empty():
        return Recommendations.create_empty()
    rated = _ratings(model, histories.ratings, users)
    bounds = np.searchsorted(rated.users, np.arange(len(users) + 1))
    frames = []
    lists = model.recommender.top(rated, _seen(model, histories.seen, users), top)
    for place, best in enumerate(lists):
        own = slice(bounds[place], bounds[place + 1])
        reasons = _reasons(model, rated, own, best) if explain else [None] * len(best.items)
        frames.append(_frame(users[place], model.target_items[best.items], best, reasons))
    return pl.concat(frames)


def _frame(
    user: str, items: pl.Series, best: Top, reasons: list[list[str]] | list[None]
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": pl.repeat(user, len(items), eager=True),
            "rank": np.arange(1, len(items) + 1, dtype=np.uint32),
            "item_id": items,
            "prediction": best.ratings,
            "because": pl.Series(reasons, dtype=pl.List(pl.String)),
        }
    )


def _require_ratings(ratings: pl.DataFrame, scale: RatingScale) -> None:
    rating = pl.col("rating").cast(pl.Float64)
    off = ~rating.is_between(scale.low, scale.high) | ~rating.is_finite()
    bad = ratings.filter(pl.any_horizontal(pl.all().is_null(), off.fill_null(True)))
    if bad.height:
        raise ValueError(
            f"{bad.height} of {ratings.height} rows lack an id or a rating from {scale.low:g} to "
            f"{scale.high:g}"
        )
    if repeated := ratings.height - ratings.select("user_id", "item_id").n_unique():
        raise ValueError(
            f"{repeated} of {ratings.height} rows rate an item again: keep one of each"
        )


def _ratings(model: ItemRecommender, ratings: pl.DataFrame, users: pl.Series) -> Ratings:
    user, _ = _rows_of(users, ratings["user_id"])
    item, known = _rows_of(model.source_items, ratings["item_id"])
    order = np.lexsort((item, user))
    order = order[known[order]]
    values = ratings["rating"].to_numpy().astype(np.float32)
    sizes = len(users), len(model.source_items)
    return Ratings(user[order], item[order], values[order], *sizes)


def _seen(model: ItemRecommender, seen: pl.DataFrame, users: pl.Series) -> list[Ints]:
    owner, requested = _rows_of(users, seen["user_id"])
    item, known = _rows_of(model.target_items, seen["item_id"])
    order = np.argsort(owner, kind="stable")
    order = order[(requested & known)[order]]
    return np.split(item[order], np.searchsorted(owner[order], np.arange(1, len(users))))


def _rows_of(ascending: pl.Series, ids: pl.Series) -> tuple[Ints, NDArray[np.bool_]]:
    """The row of each of ``ids``, and whether it exists."""
    rows = ascending.search_sorted(ids).to_numpy().astype(np.int64)
    rows = np.minimum(rows, len(ascending) - 1)
    return rows, (ascending.gather(rows) == ids).to_numpy()


def _reasons(model: ItemRecommender, rated: Ratings, own: slice, best: Top) -> list[list[str]]:
    items = rated.items[own]
    history = Ratings(np.zeros(len(items), np.int64), items, rated.values[own], 1, rated.n_items)
    pulls = model.recommender.pulls(history, best.items)  # (h, B)
    strongest = np.argsort(-pulls, axis=0, kind="stable")[:REASONS]
    return [
        [model.source_items[int(items[row])] for row in rows if pulls[row, place] > 0]
        for place, rows in enumerate(strongest.T)
    ]
