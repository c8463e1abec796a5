"""Lists over the whole catalogue against their definitions, on tiny worlds full of ties."""

import numpy as np
import pytest
import torch

from metaem_core.data.choices import Choices
from metaem_core.evaluation import lists
from metaem_core.evaluation.lists import RankConfig, diversity, rank
from metaem_core.evaluation.metrics import Doubles
from tests.core.test_metrics import over_every_order

USERS, ITEMS = 12, 6
CONFIG = RankConfig("t", length=2, recall_length=3)


def world(seed: int) -> tuple[Doubles, dict[str, np.ndarray]]:
    """Scores of users in a mixed order, and what is relevant; some like nothing."""
    draw = np.random.default_rng(seed)
    chosen = draw.random((USERS, ITEMS)) < 0.4
    chosen[np.arange(USERS), draw.integers(0, ITEMS, USERS)] = True
    marks = {"chosen": chosen, "liked": chosen & (draw.random(chosen.shape) < 0.4)}
    return draw.integers(0, 3, (USERS, ITEMS)).astype(float), marks


@pytest.mark.parametrize("at_once", [1, 3 * ITEMS, 1 << 20])
@pytest.mark.parametrize("seed", range(3))
def test_measures_are_means_over_all_orders_of_ties(
    monkeypatch: pytest.MonkeyPatch, at_once: int, seed: int
) -> None:
    monkeypatch.setattr(lists, "PAIRS_AT_ONCE", at_once)
    scores, marks = world(seed)
    users = torch.from_numpy(np.random.default_rng(seed).permutation(USERS))
    relevant = {
        name: Choices.of_pairs(*np.nonzero(mark[users.numpy()]), USERS, ITEMS)
        for name, mark in marks.items()
    }
    ranked = rank(lambda some: torch.from_numpy(scores[some.numpy()]), users, relevant, CONFIG)
    for name, mark in marks.items():
        for row, user in enumerate(users.tolist()):
            own = {measure: values[row] for measure, values in ranked.measures[name].items()}
            if not mark[user].any():
                assert np.isnan([*own.values()]).all()
                continue
            order = scores[user].astype(int).tolist(), mark[user].tolist()
            ndcg, hr, _, mrr = over_every_order(*order, CONFIG.length)
            recall = over_every_order(*order, CONFIG.recall_length)[2]
            assert own == pytest.approx({"ndcg": ndcg, "hr": hr, "recall": recall, "mrr": mrr})
    for top, user in zip(ranked.top, users.tolist(), strict=True):
        best = np.sort(scores[user])[::-1][: CONFIG.length]
        assert scores[user][top].tolist() == best.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_diversity_is_as_defined(seed: int) -> None:
    draw = np.random.default_rng(seed)
    top = np.array([draw.permutation(ITEMS)[:2] for _ in range(USERS)])
    popularity = draw.integers(0, 9, ITEMS)
    counts = [sum(item in row for row in top.tolist()) for item in range(ITEMS)]
    apart = sum(abs(a - b) for a in counts for b in counts)
    first = top[:, 0].tolist()
    expected = {
        "coverage": sum(count > 0 for count in counts) / ITEMS,
        "first_share": max(first.count(item) for item in range(ITEMS)) / USERS,
        "popularity": sum(popularity[item] for row in top for item in row) / (USERS * 2) / 9,
        "gini": apart / (2 * ITEMS * sum(counts)),  # half the relative mean difference
    }
    assert diversity(top, torch.from_numpy(popularity), 9) == pytest.approx(expected)


def test_lists_are_as_different_as_can_be_or_all_the_same() -> None:
    popularity = torch.ones(ITEMS)
    different = diversity(np.arange(ITEMS).reshape(-1, 1), popularity, 1)
    assert different == pytest.approx(
        {"coverage": 1, "first_share": 1 / ITEMS, "popularity": 1, "gini": 0}
    )
    same = diversity(np.zeros((USERS, 1), dtype=np.int64), popularity, 1)
    assert same == pytest.approx(
        {"coverage": 1 / ITEMS, "first_share": 1, "popularity": 1, "gini": 1 - 1 / ITEMS}
    )
