"""Lists by choice against scores of one user and one item at a time."""

import numpy as np
import pytest
import torch
from torch import Tensor

from metaem_core.data.choices import Choices
from metaem_core.models import choice_recommender as module
from metaem_core.models.choice import ItemFactors
from metaem_core.models.choice_mapping import ChoiceModel, ChoiceScorer, SourceFeatures
from metaem_core.models.choice_recommender import ChoiceRecommender

USERS, SOURCE_ITEMS, ITEMS, SIZE = 30, 25, 40, 5
UNOBSERVED, L2 = 0.2, 0.05
DRAW = torch.Generator().manual_seed(3)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=DRAW, dtype=torch.float64)


def drawn(users: int, items: int, share: float) -> Choices:
    """The first user chose nothing; the last users more than SIZE items, others fewer."""
    chosen = torch.rand(users, items, generator=DRAW) < share
    chosen[0] = False
    chosen[-5:, :12] = True
    return Choices.of_pairs(*chosen.nonzero().T.numpy(), users, items)


VECTORS, TURN, LEADING = normal(SOURCE_ITEMS, SIZE), normal(SIZE, 4), normal(SOURCE_ITEMS, 3)
NOBODY = torch.tensor([1.0, 0, 0, 0, 0, 1, 0, 0, 0]).double()  # features of 0 but the ones
AVERAGE = NOBODY + (1 - NOBODY) * normal(9)
WEIGHT = 0.7
SCORER = ChoiceScorer.of([normal(ITEMS, 3), normal(ITEMS, 5), normal(ITEMS, 4)], WEIGHT)
FEATURES = SourceFeatures(ItemFactors.of(VECTORS, UNOBSERVED, L2), TURN, LEADING)
RECOMMENDER = ChoiceRecommender(ChoiceModel(FEATURES, SCORER, AVERAGE))
HISTORIES, SEEN = drawn(USERS, SOURCE_ITEMS, 0.15), drawn(USERS, ITEMS, 0.3)
NOTHING = Choices(torch.zeros(0).long(), torch.zeros(USERS + 1).long(), ITEMS)


def items_of(choices: Choices, user: int) -> list[int]:
    return choices.items[choices.start[user] : choices.start[user + 1]].tolist()


def pushes(own: list[int]) -> Tensor:
    """What each item adds to the user's vector (n, SIZE): the loss of one user, solved densely."""
    ridge = L2 * (len(own) + UNOBSERVED * SOURCE_ITEMS) * torch.eye(SIZE).double()
    square = VECTORS[own].T @ VECTORS[own] + UNOBSERVED * VECTORS.T @ VECTORS + ridge
    return torch.linalg.solve(square, VECTORS[own].T).T


def added_features(own: list[int]) -> Tensor:
    """What each item adds to the features of a user who chose ``own`` (n, 9)."""
    zero = torch.zeros(len(own), 1).double()
    return torch.cat([zero, pushes(own) @ TURN, zero, LEADING[own] / len(own) ** 0.5], 1)


def features(own: list[int]) -> Tensor:
    """What the mapping reads of a user who chose ``own`` (9,)."""
    return NOBODY + added_features(own).sum(0) if own else AVERAGE


def standard(own: list[int], read: Tensor) -> Tensor:
    """The weighted sum over tables of what ``read`` (..., 9) scores, on this user's scale."""
    total = torch.zeros(*read.shape[:-1], ITEMS).double()
    reads = (slice(3), 0.5), (slice(5), 0.5), (slice(5, 9), WEIGHT)
    for table, (place, weight) in zip(SCORER.tables, reads, strict=True):
        deviation = (table @ features(own)[place]).std(correction=0)
        total += weight * read[..., place] @ table.T / deviation
    return total


def scores(own: list[int]) -> Tensor:
    """Of every target item for a user who chose ``own`` (ITEMS,)."""
    return standard(own, features(own))


def test_a_list_has_the_highest_scores_without_those_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 7 * ITEMS)
    items, worth = RECOMMENDER.top(HISTORIES, SEEN, 10)
    assert items.shape == (USERS, 10)
    for user in range(USERS):
        expected, seen = scores(items_of(HISTORIES, user)), items_of(SEEN, user)
        order = [j for j in expected.argsort(descending=True).tolist() if j not in seen]
        assert items[user].tolist() == order[:10]
        np.testing.assert_allclose(worth[user], expected[order[:10]], atol=1e-9)


def test_a_short_catalogue_leaves_places_empty() -> None:
    items, _ = RECOMMENDER.top(HISTORIES, SEEN, 1000)
    assert items.shape == (USERS, ITEMS)
    for user in range(USERS):
        length = ITEMS - len(items_of(SEEN, user))
        assert sorted([*items_of(SEEN, user), *items[user][:length]]) == [*range(ITEMS)]
        assert (items[user][length:] == -1).all()


def test_of_equal_scores_the_first_item_comes_first() -> None:
    twins = ChoiceScorer(tuple(table.repeat_interleave(2, 0) for table in SCORER.tables), WEIGHT)
    recommender = ChoiceRecommender(ChoiceModel(FEATURES, twins, AVERAGE))
    nothing = Choices(NOTHING.items, NOTHING.start, 2 * ITEMS)
    items, _ = recommender.top(HISTORIES, nothing, 2 * ITEMS)
    assert (items[:, 1::2] == items[:, ::2] + 1).all()


def test_parts_of_a_score_add_up_to_it() -> None:
    """All but what features of 0 score, on the user's own scale."""
    every = torch.arange(ITEMS).expand(USERS, -1)
    served = set()
    for users, chosen, parts in RECOMMENDER.parts(HISTORIES, every):
        for user, own, added in zip(users.tolist(), chosen.tolist(), parts, strict=True):
            served.add(user)
            total = standard(own, NOBODY) + added.sum(0)
            torch.testing.assert_close(total, scores(own), rtol=0, atol=1e-10)
    assert served == {user for user in range(USERS) if items_of(HISTORIES, user)}


@pytest.mark.parametrize("at_once", [1, module.AT_ONCE])
def test_a_reason_is_what_adds_most_to_this_items_score(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    items, _ = RECOMMENDER.top(HISTORIES, SEEN, 6)
    reasons = RECOMMENDER.reasons(HISTORIES, items, 3)
    for user in range(1, USERS):
        own = items_of(HISTORIES, user)
        added = standard(own, added_features(own))  # (n, ITEMS)
        for place, item in enumerate(items[user]):
            order = added[:, item].argsort(descending=True)[:3].tolist()
            best = [own[place] for place in order if added[place, item] > 0]
            assert [row for row in reasons[user, place] if row >= 0] == best
    assert (reasons[0] == -1).all()  # who chose nothing
    assert max(len({*map(tuple, lists)}) for lists in reasons) > 3  # one list, several reasons
