"""Scores of a predictor on cold users' held-out ratings."""

from dataclasses import dataclass, field

import numpy as np

from metaem_core.data.pair import Queries
from metaem_core.data.ratings import Floats, RatingScale, above_middle
from metaem_core.evaluation.distribution import Spread, brier
from metaem_core.evaluation.metrics import mae, rmse
from metaem_core.evaluation.ranking import heldout_ndcg


@dataclass(frozen=True)
class EvaluateConfig:
    """How predictions are scored."""

    task: str  # such as movie-music; names the experiment
    scale: RatingScale = field(default_factory=RatingScale)  # predictions are clipped to it


def clip(predicted: Floats, scale: RatingScale) -> Floats:
    """Predictions within the scale; shape (Q,)."""
    return np.clip(predicted, scale.low, scale.high)


def rating_scores(
    predicted: Floats, queries: Queries, scale: RatingScale, spread: Spread
) -> dict[str, float]:
    """Errors of clipped and raw means and of medians, and NDCG of each user's held-out items.

    ``brier_liked`` is the Brier score of the probability that the user likes the item.
    """
    clipped = clip(predicted, scale)
    chances = spread.around(clipped)
    return {
        "mae": mae(clipped, queries.values),
        "median_mae": mae(spread.medians(chances), queries.values),
        "rmse": rmse(clipped, queries.values),
        "mae_raw": mae(predicted, queries.values),
        "rmse_raw": rmse(predicted, queries.values),
        "brier_liked": brier(spread.above_middle(chances), above_middle(queries.values, scale)),
        "heldout_ndcg": float(heldout_ndcg(queries.users, predicted, queries.values).mean()),
    }
