"""Top-N lists of item ids for users, from their histories."""

from typing import Literal, NamedTuple, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from data_contracts.recommendations import Recommendations
from metaem_core.data.choices import Choices
from metaem_core.data.ratings import Floats, Ints, Ratings, RatingScale
from metaem_core.models.recommender import Recommender
from tasks.recommend.artifact import ItemRecommender
from tasks.recommend.histories import Histories

REASONS = 3  # source items named for each recommendation
FEW_USERS = 20  # whose lists may be alike by chance
Order = Literal["choice", "stars"]


class _Listed(NamedTuple):
    """A row a user and a column a rank; -1 is no item."""

    items: Ints  # (B, T)
    scores: Floats | None = None  # (B, T)
    stars: Floats | None = None  # (B, T)
    reasons: Ints | None = None  # (B, T, REASONS)


def count_unknown(model: ItemRecommender, ratings: pl.DataFrame) -> int:
    """The number of ratings of items that the source does not have."""
    _, known = _rows_of(model.source_items, ratings["item_id"])
    return int((~known).sum())


def likeness(recommendations: pl.DataFrame, top: int, catalogue: int) -> str | None:
    """That the lists hardly differ between many users, if so.

    Args:
        top: the most items a list may have.
        catalogue: the number of items that there are.
    """
    users, items = (recommendations[name].n_unique() for name in ("user_id", "item_id"))
    first = recommendations.filter(rank=1)["item_id"].value_counts(sort=True)
    if users < FEW_USERS or (first["count"][0] <= users / 2 and items >= min(2 * top, catalogue)):
        return None
    return (
        f"the lists hardly differ between users: {first['count'][0]} of {users} have the same "
        f"first item, and all lists hold {items} of {catalogue} items; either these users chose "
        "few items of the source, or few users of both domains were there to learn from"
    )


def recommend(
    model: ItemRecommender, histories: Histories, top: int, explain: bool, by: Order = "choice"
) -> pl.DataFrame:
    """The best items of the target for each user of ``histories``, as :class:`Recommendations`.

    Items that the source does not have are passed over. A user who has chosen no other item gets
    the list of the average user.

    Args:
        histories: at most one rating for each user and item.
        top: the number of items for each user.
        explain: name the items of the history that speak most for each recommendation.
        by: what orders a list: what the user would choose, or the stars that they would give.

    Raises:
        ValueError: an id is missing, a rating is not on the scale, an item is rated twice, or
            ``by`` is no order, or one by stars where there are none.
    """
    if by not in get_args(Order):
        raise ValueError(f"no order {by!r}: use one of {', '.join(get_args(Order))}")
    stars = model.stars if histories.rated else None
    if by == "stars" and stars is None and histories.ratings.height:
        without = f"{model.task} has no stars, or was not trained with pretrain.tables=newton"
        lacking = "the history has no ratings" if model.stars else without
        raise ValueError(f"{lacking}: recommend by choice")
    _require_ratings(histories.ratings, model.scale if histories.rated else None)
    users = histories.ratings["user_id"].unique().sort()
    if users.is_empty():
        return Recommendations.create_empty()
    rated, seen = _ratings(model, histories.ratings, users), _seen(model, histories.seen, users)
    if by == "stars" and stars is not None:
        listed = _by_stars(stars, rated, seen, top, explain)
    else:
        threshold = model.threshold if histories.rated else None
        listed = _by_choice(model, stars, rated, threshold, seen, top, explain)
    return _frame(model, users, listed)


def _by_choice(
    model: ItemRecommender,
    stars: Recommender | None,
    rated: Ratings,
    threshold: float | None,
    seen: Choices,
    top: int,
    explain: bool,
) -> _Listed:
    chosen = Choices.of(rated, threshold)
    items, scores = model.choice.top(chosen, seen, top)
    expected = stars.rate(rated, np.maximum(items, 0)) if stars is not None else None
    reasons = model.choice.reasons(chosen, items, REASONS) if explain else None
    return _Listed(items, scores, expected, reasons)


def _by_stars(
    model: Recommender, rated: Ratings, seen: Choices, top: int, explain: bool
) -> _Listed:
    bounds = np.searchsorted(rated.users, np.arange(rated.n_users + 1))
    known = np.split(seen.items.numpy(), seen.start[1:-1].numpy())
    shape = rated.n_users, min(top, seen.n_items)
    items, stars = np.full(shape, -1), np.zeros(shape, np.float32)
    reasons = np.full((*shape, REASONS), -1) if explain else None
    for user, best in enumerate(model.top(rated, known, top)):
        length = len(best.items)
        items[user, :length], stars[user, :length] = best.items, best.ratings
        if reasons is not None:
            own = slice(bounds[user], bounds[user + 1])
            strongest = _strongest(model, rated, own, best.items)
            reasons[user, :length, : strongest.shape[1]] = strongest
    return _Listed(items, None, stars, reasons)


def _strongest(model: Recommender, rated: Ratings, own: slice, items: Ints) -> Ints:
    """Of each item (n,), the items of one user's history without which it falls most (n, r)."""
    known = rated.items[own]
    history = Ratings(np.zeros_like(known), known, rated.values[own], 1, rated.n_items)
    pulls = model.pulls(history, items)  # (h, n)
    strongest = np.argsort(-pulls, axis=0, kind="stable")[:REASONS]
    falls = np.take_along_axis(pulls, strongest, 0) > 0
    return np.where(falls, known[strongest], -1).T


def _frame(model: ItemRecommender, users: pl.Series, listed: _Listed) -> pl.DataFrame:
    user, place = np.nonzero(listed.items >= 0)

    def column(values: Floats | None) -> pl.Series:
        if values is None:
            return pl.repeat(None, len(user), dtype=pl.Float32, eager=True)
        return pl.Series(values[user, place], dtype=pl.Float32)

    names = pl.repeat(None, len(user), dtype=pl.List(pl.String), eager=True)
    if listed.reasons is not None:
        names = _names(model.source_items, listed.reasons[user, place])
    return pl.DataFrame(
        {
            "user_id": users.gather(user),
            "rank": place.astype(np.uint32) + np.uint32(1),
            "item_id": model.target_items.gather(listed.items[user, place]),
            "score": column(listed.scores),
            "prediction": column(listed.stars),
            "because": names,
        }
    )


def _names(ids: pl.Series, rows: Ints) -> pl.Series:
    """A list of ids for each row (R, n) of their numbers; -1 is none."""
    columns = pl.DataFrame(rows, schema=[str(n) for n in range(rows.shape[1])])
    named = columns.select(pl.when(pl.all() >= 0).then(pl.all()))
    lists = pl.concat_list(
        pl.Series(column.name, ids.gather(column)) for column in named.iter_columns()
    )
    return pl.select(lists.list.drop_nulls()).to_series()


def _require_ratings(ratings: pl.DataFrame, scale: RatingScale | None) -> None:
    """Complete rows, each of another user or item; with a ``scale``, ratings on it."""
    bad, lacking = pl.any_horizontal(pl.col("user_id", "item_id").is_null()), "an id"
    if scale is not None:
        rating = pl.col("rating").cast(pl.Float64)
        off = ~rating.is_between(scale.low, scale.high) | ~rating.is_finite()
        bad |= off.fill_null(True)
        lacking += f" or a rating from {scale.low:g} to {scale.high:g}"
    if wrong := ratings.filter(bad).height:
        raise ValueError(f"{wrong} of {ratings.height} rows lack {lacking}")
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


def _seen(model: ItemRecommender, seen: pl.DataFrame, users: pl.Series) -> Choices:
    user, requested = _rows_of(users, seen["user_id"])
    item, known = _rows_of(model.target_items, seen["item_id"])
    order = np.lexsort((item, user))
    order = order[(requested & known)[order]]
    return Choices.of_pairs(user[order], item[order], len(users), len(model.target_items))


def _rows_of(ascending: pl.Series, ids: pl.Series) -> tuple[Ints, NDArray[np.bool_]]:
    """The row of each of ``ids``, and whether it exists."""
    rows = ascending.search_sorted(ids).to_numpy().astype(np.int64)
    rows = np.minimum(rows, len(ascending) - 1)
    return rows, (ascending.gather(rows) == ids).to_numpy()
