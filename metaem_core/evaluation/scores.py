"""Scores of a predictor on cold users' held-out ratings."""

from dataclasses import dataclass, field

import numpy as np

from metaem_core.data.pair import Predict, Queries
from metaem_core.data.ratings import Floats, Ints, RatingScale
from metaem_core.evaluation.metrics import mae, rmse
from metaem_core.evaluation.ranking import heldout_ndcg, hit_rate_at_k, mrr, ndcg_at_k, place

PAIRS_AT_ONCE = 1 << 18  # user-item pairs ranked together: bounds memory on large catalogues


@dataclass(frozen=True)
class EvaluateConfig:
    """How predictions are scored."""

    task: str  # such as movie-music; names the experiment
    scale: RatingScale = field(default_factory=RatingScale)  # predictions are clipped to it
    ranking_users: int = 100  # at most so many cold users rank the whole catalogue
    ranking_length: int = 10  # k of NDCG and HR
    seed: int = 0  # of the draw of these users

    def __post_init__(self) -> None:
        if self.ranking_users < 1 or self.ranking_length < 1:
            raise ValueError(f"ranking_users and ranking_length must be positive, got {self!r}")


def clip(predicted: Floats, scale: RatingScale) -> Floats:
    """Predictions within the scale; shape (Q,)."""
    return np.clip(predicted, scale.low, scale.high)


def rating_scores(predicted: Floats, queries: Queries, scale: RatingScale) -> dict[str, float]:
    """Errors of clipped and raw predictions, and NDCG of each user's own held-out items."""
    clipped = clip(predicted, scale)
    return {
        "mae": mae(clipped, queries.values),
        "rmse": rmse(clipped, queries.values),
        "mae_raw": mae(predicted, queries.values),
        "rmse_raw": rmse(predicted, queries.values),
        "heldout_ndcg": float(heldout_ndcg(queries.users, predicted, queries.values).mean()),
    }


def ranking_users(queries: Queries, config: EvaluateConfig) -> Ints:
    """The cold users who rank the catalogue, ascending."""
    users = np.unique(queries.users)
    count = min(config.ranking_users, len(users))
    return np.sort(np.random.default_rng(config.seed).choice(users, count, replace=False))


def ranking_scores(
    predict: Predict, queries: Queries, users: Ints, n_items: int, k: int
) -> dict[str, float]:
    """Means over ``users`` of NDCG@k, HR@k and MRR of their held-out items in the catalogue."""
    size = max(1, PAIRS_AT_ONCE // n_items)
    parts = [
        _rank(predict, queries, users[start : start + size], n_items, k)
        for start in range(0, len(users), size)
    ]
    ndcg, hits, reciprocal = np.concatenate(parts, axis=1).mean(axis=1)
    return {f"ndcg_at_{k}": float(ndcg), f"hr_at_{k}": float(hits), "mrr": float(reciprocal)}


def _rank(predict: Predict, queries: Queries, users: Ints, n_items: int, k: int) -> Floats:
    """(3, B) measures of a block of users."""
    scores = predict(np.repeat(users, n_items), np.tile(np.arange(n_items), len(users)))
    row = np.searchsorted(users, queries.users)
    mine = users[np.minimum(row, len(users) - 1)] == queries.users
    relevant = np.zeros((len(users), n_items), dtype=bool)
    relevant[row[mine], queries.items[mine]] = True
    places = place(scores.reshape(len(users), n_items), relevant)
    return np.stack([ndcg_at_k(places, k), hit_rate_at_k(places, k), mrr(places)])
