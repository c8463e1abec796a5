from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from metaem_core.data.filtering import latest, peel
from metaem_core.data.ratings import Ints

pairs = nps.arrays(np.int64, st.tuples(st.integers(0, 60), st.just(2)), elements=st.integers(0, 7))
cores = st.integers(0, 4)


def core(users: Ints, items: Ints, k: int) -> list[int]:
    *_, rows = peel(users, items, k)
    return list(rows)


def naive_core(rows: list[tuple[int, int]], k: int) -> set[int]:
    """Peel one row at a time until none has a rare user or item."""
    alive = set(range(len(rows)))
    while True:
        for side in (0, 1):
            names = [rows[row][side] for row in alive]
            rare = {row for row in alive if names.count(rows[row][side]) < k}
            if rare:
                alive.remove(rare.pop())
                break
        else:
            return alive


@given(pairs, cores)
def test_k_core_is_the_largest_fixed_point(rows: Ints, k: int) -> None:
    alive = core(rows[:, 0], rows[:, 1], k)
    kept = rows[alive]
    assert len(core(kept[:, 0], kept[:, 1], k)) == len(kept)
    assert {*alive} == naive_core([tuple(row) for row in rows.tolist()], k)


def test_peeling_a_chain_takes_a_round_a_link() -> None:
    # user 0 has only item 0; without it item 0 is short, then user 1, and so on
    users, items = np.array([0, 1, 1, 2, 2, 3]), np.array([0, 0, 1, 1, 2, 2])
    assert [len(rows) for rows in peel(users, items, 2)] == [6, 4, 2, 0]


@pytest.mark.parametrize("dtype", [np.uint32, np.int64])
def test_a_user_with_fifty_thousand_ratings_alone_has_no_core(dtype: type) -> None:
    items: Ints = np.arange(50_000).astype(dtype)
    assert core(np.zeros_like(items), items, 2) == []
    assert len(core(np.zeros_like(items), items, 1)) == 50_000


ratings = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 5), st.integers(-1, 2)),
    max_size=30,
)


@given(ratings, st.randoms(use_true_random=False))
def test_latest_keeps_one_rating_a_pair_whatever_the_order(
    rows: list[tuple[int, int, int, int]], shuffler: Random
) -> None:
    expected: dict[tuple[int, int], tuple[int, int]] = {}
    for user, item, value, time in rows:
        best = expected.get((user, item), (time, value))
        expected[user, item] = max(best, (time, value))
    shuffler.shuffle(rows)
    table: Ints = np.array(rows, dtype=np.int64).reshape(-1, 4)
    users, items, values, times = table.T
    kept = latest(users, items, values.astype(np.float32), times)
    latest_of = {(user, item): (time, value) for user, item, value, time in table[kept].tolist()}
    assert latest_of == expected
    assert list(latest_of) == sorted(latest_of)
    assert len(latest_of) == len(kept)
