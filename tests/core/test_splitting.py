from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaem_core.data.splitting import SplitConfig, UserSplit, digest, split_overlap

ids = st.lists(st.text(min_size=1, max_size=8), min_size=10, max_size=60, unique=True)


@given(ids, st.sampled_from([0.2, 0.5, 0.8]), st.integers(0, 2**40))
def test_every_user_has_exactly_one_role(users: list[str], beta: float, seed: int) -> None:
    split = split_overlap(users, SplitConfig(beta, seed=seed))
    assigned = split.train + split.validation + split.cold
    assert len(assigned) == len(users)
    assert set(assigned) == set(users)
    assert len(split.cold) == round(beta * len(users))
    assert len(split.validation) == max(1, round(0.1 * (len(users) - len(split.cold))))


@given(ids, st.randoms())
def test_row_order_and_repeats_do_not_matter(users: list[str], random: Random) -> None:
    shuffled = users + users[:3]
    random.shuffle(shuffled)
    assert split_overlap(shuffled, SplitConfig()) == split_overlap(users, SplitConfig())


@given(ids, st.integers(0, 99))
def test_cold_users_are_nested_across_betas(users: list[str], seed: int) -> None:
    few, some, most = (
        set(split_overlap(users, SplitConfig(beta, seed=seed)).cold) for beta in (0.2, 0.5, 0.8)
    )
    assert few < some < most


def test_the_split_of_known_ids_is_fixed() -> None:
    split = split_overlap(["ann", "bob", "cid", "dan", "eve", "fay"], SplitConfig(0.5, 0.4, seed=7))
    # sha256sum of "7:bob", "7:fay", ...: 44c8.. bob, 497d.. fay, 670a.. ann, 756b.. dan, 90b4.. cid
    assert split == UserSplit(train=("cid", "eve"), validation=("dan",), cold=("bob", "fay", "ann"))


def test_digest_tells_roles_and_ids_apart_but_not_order() -> None:
    split = UserSplit(("a", "b"), ("c",), ("d",))
    assert digest(split) == digest(UserSplit(("b", "a"), ("c",), ("d",)))
    assert digest(split) != digest(UserSplit(("a",), ("b", "c"), ("d",)))
    assert digest(split) != digest(UserSplit(("ab",), ("c",), ("d",)))


def test_an_empty_role_is_refused_with_the_numbers() -> None:
    with pytest.raises(ValueError, match=r"2 shared users leave a role empty: .*'cold': 0"):
        split_overlap(["a", "b"], SplitConfig(0.2))
    with pytest.raises(ValueError, match="no user is in both domains"):
        split_overlap([], SplitConfig(0.2))


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, float("nan")])
def test_fractions_outside_the_open_interval_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="cold_fraction"):
        SplitConfig(cold_fraction=value)
    with pytest.raises(ValueError, match="validation_fraction"):
        SplitConfig(validation_fraction=value)
