"""Twins: all that are planted, none by chance, and what is left without them."""

import numpy as np
import pytest

from metaem_core.data.ratings import Ints, Ratings
from metaem_core.data.twins import find_twins, without_twins

USERS, ITEMS = 400, 120
EVERYONE = np.arange(USERS)


def world(seed: int, share: float = 0.05) -> np.ndarray:
    """Who rated what (USERS, ITEMS), at random."""
    return np.random.default_rng(seed).random((USERS, ITEMS)) < share


def rated(matrix: np.ndarray) -> Ratings:
    users, items = np.nonzero(matrix)
    return Ratings(users, items, np.ones(len(users), np.float32), *matrix.shape)


def pairs(source: np.ndarray, target: np.ndarray, shared: Ints = EVERYONE) -> set[tuple[int, int]]:
    twins = find_twins(rated(source), rated(target), shared, shared)
    return {*zip(twins.source.tolist(), twins.target.tolist(), strict=True)}


def by_sets(source: np.ndarray, target: np.ndarray, shared: Ints) -> set[tuple[int, int]]:
    """The definition, item by item."""
    ours, theirs = (
        [{*np.flatnonzero(column[shared])} for column in side.T] for side in (source, target)
    )
    return {
        (i, j)
        for i, a in enumerate(ours)
        for j, b in enumerate(theirs)
        if len(a & b) >= 4 and len(a & b) >= 0.8 * len(a | b)
    }


def planted(source: np.ndarray, target: np.ndarray, seed: int) -> dict[int, int]:
    """Ten target items become listings of source items; one user rated the source's alone."""
    draw = np.random.default_rng(seed)
    twins = dict(zip(draw.permutation(ITEMS)[:10], draw.permutation(ITEMS)[:10], strict=True))
    for ours, theirs in twins.items():
        target[:, theirs] = source[:, ours]
        target[source[:, ours].argmax(), theirs] = False
    return {int(ours): int(theirs) for ours, theirs in twins.items()}


@pytest.mark.parametrize("seed", range(5))
def test_planted_twins_are_all_found_and_nothing_else(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaem_core.data.twins.ITEMS_AT_ONCE", 7)
    source, target = world(seed), world(seed + 100)
    assert pairs(source, target) == set()
    twins = planted(source, target, seed)
    assert pairs(source, target) == {*twins.items()}


@pytest.mark.parametrize("seed", range(5))
def test_twins_are_judged_by_users_of_both_domains_alone(seed: int) -> None:
    source, target = world(seed, 0.1), world(seed + 100, 0.1)
    planted(source, target, seed)
    shared = np.sort(np.random.default_rng(seed).permutation(USERS)[:150])
    assert pairs(source, target, shared) == by_sets(source, target, shared)
    alone = np.setdiff1d(EVERYONE, shared)
    source[alone] = world(seed + 200, 0.3)[alone]
    assert pairs(source, target, shared) == by_sets(source, target, shared) != set()


def test_three_shared_raters_are_too_few() -> None:
    few = np.zeros((USERS, 1), bool)
    few[:3] = True
    assert pairs(few, few) == set()
    few[3] = True
    assert pairs(few, few) == {(0, 0)}


@pytest.mark.parametrize("k", [1, 3, 5])
def test_without_twins_the_source_is_a_core_without_twins(k: int) -> None:
    source, target = world(1), world(101)
    twins = planted(source, target, 1)
    ratings = rated(source)
    rows, found = without_twins(ratings, rated(target), EVERYONE, EVERYONE, k)
    assert {*found[0].source.tolist()} == {*twins}
    left = ratings.where(rows)
    assert not np.isin(left.items, [*twins]).any()
    for side in (left.users, left.items):
        assert np.bincount(side)[side].min() >= k
    there = np.flatnonzero(np.bincount(left.users, minlength=USERS))
    assert len(find_twins(left, rated(target), there, there).source) == 0


def test_a_source_without_twins_stays_as_it_is() -> None:
    ratings = rated(world(2))
    rows, (found,) = without_twins(ratings, rated(world(102)), EVERYONE, EVERYONE, 1)
    assert rows.tolist() == [*range(len(ratings))]
    assert len(found.source) == 0
