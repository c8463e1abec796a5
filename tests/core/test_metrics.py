from itertools import pairwise, permutations
from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaem_core.data.ratings import Floats
from metaem_core.evaluation.metrics import mae, rmse, user_errors
from metaem_core.evaluation.ranking import (
    heldout_ndcg,
    hit_rate_at_k,
    mrr,
    ndcg_at_k,
    place,
    recall_at_k,
)


def floats(*values: float) -> Floats:
    return np.array(values, dtype=np.float32)


def test_errors_within_each_user_by_hand() -> None:
    errors = user_errors(np.array([9, 4, 9, 9]), floats(3, 4, 5, 1), floats(4, 4, 3, 2))
    assert errors.users.tolist() == [4, 9]
    assert errors.counts.tolist() == [1, 3]
    assert errors.mae == pytest.approx([0, 4 / 3])
    assert errors.mse == pytest.approx([0, 2])


def of_one_order(relevant: list[bool], k: int) -> tuple[float, float, float, float]:
    """NDCG@k, HR@k, Recall@k and reciprocal rank of a ranked list, as their definitions read."""
    gain = sum(1 / log2(rank + 2) for rank, hit in enumerate(relevant) if hit and rank < k)
    ideal = sum(1 / log2(rank + 2) for rank in range(min(k, sum(relevant))))
    recall = sum(relevant[:k]) / sum(relevant)
    return gain / ideal, float(any(relevant[:k])), recall, 1 / (relevant.index(True) + 1)


def over_every_order(scores: list[int], relevant: list[bool], k: int) -> list[float]:
    """The same, averaged over all ways to order the ties."""
    orders = [
        order
        for order in permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in pairwise(order))
    ]
    measures = [of_one_order([relevant[item] for item in order], k) for order in orders]
    return [float(mean) for mean in np.mean(measures, axis=0)]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=2, max_size=6).filter(
        lambda rows: any(hit for _, hit in rows)
    ),
    st.integers(1, 7),
)
def test_ties_count_as_the_mean_over_all_orders(rows: list[tuple[int, bool]], k: int) -> None:
    scores, relevant = (list(column) for column in zip(*rows, strict=True))
    turned, every = [-score for score in scores], [True] * len(scores)
    places = place(np.array([scores, turned]), np.array([relevant, every]))
    recall = recall_at_k(places, k)
    measures = [ndcg_at_k(places, k), hit_rate_at_k(places, k), recall, mrr(places)]
    expected = [over_every_order(scores, relevant, k), over_every_order(turned, every, k)]
    np.testing.assert_allclose(measures, np.transpose(expected), atol=1e-12)


def test_heldout_ranking_by_hand() -> None:
    users = np.array([7, 3, 7, 7, 3])
    actual = floats(5, 2, 1, 3, 4)
    predicted = floats(0.2, 4.0, 0.9, 0.2, 4.0)  # both users tie two items
    ideal_7 = 5 + 3 / log2(3) + 1 / log2(4)
    reached_7 = 1 + (5 + 3) * (1 / log2(3) + 1 / log2(4)) / 2
    ideal_3 = 4 + 2 / log2(3)
    reached_3 = (4 + 2) * (1 + 1 / log2(3)) / 2
    reached = heldout_ndcg(users, predicted, actual)
    assert reached == pytest.approx([reached_3 / ideal_3, reached_7 / ideal_7])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), min_size=1, max_size=30))
def test_the_true_order_ranks_perfectly_and_its_reverse_never_better_than_a_constant(
    rows: list[tuple[int, int]],
) -> None:
    users, actual = (np.array(column) for column in zip(*rows, strict=True))
    constant = heldout_ndcg(users, np.zeros_like(actual), actual)
    assert heldout_ndcg(users, actual, actual) == pytest.approx(np.ones(len(constant)))
    assert (heldout_ndcg(users, -actual, actual) <= constant + 1e-12).all()


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 predictions are not finite"):
        mae(floats(1, np.nan), floats(1, 2))
    with pytest.raises(ValueError, match=r"\(2,\) predictions for \(1,\) ratings"):
        rmse(floats(1, 2), floats(1))
    with pytest.raises(ValueError, match="no ratings"):
        mae(floats(), floats())
    with pytest.raises(ValueError, match=r"scores \(1, 2\) and relevant \(2, 2\) differ"):
        place(np.zeros((1, 2)), np.ones((2, 2), dtype=bool))
    with pytest.raises(ValueError, match="1 users have no relevant item, first row 1"):
        place(np.zeros((2, 2)), np.array([[True, False], [False, False]]))
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        hit_rate_at_k(place(np.zeros((1, 2)), np.array([[True, False]])), 0)
