"""Scores of predictors whose worth is known, and the paired test."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest, ttest_1samp

from data_contracts.report import GroupScores
from metaem_core.data.pair import Queries
from metaem_core.data.ratings import RatingScale
from metaem_core.evaluation.distribution import Spread
from metaem_core.evaluation.scores import rating_scores
from tasks.report.comparison import (
    by_group,
    compare,
    fairness,
    holm,
    paired_p_value,
    paired_tests,
    sign_p_value,
    summarise,
)

QUERIES = Queries(
    users=np.array([2, 2, 5, 7, 7]),
    items=np.array([0, 3, 1, 0, 2]),
    values=np.array([5, 1, 3, 2, 4], dtype=np.float32),
)


def test_errors_by_hand() -> None:
    predicted = np.array([7, 1, 3, 0, 4], dtype=np.float32)
    spread = Spread.of(np.array([1, 2, 3, 4, 5], np.float32), RatingScale())
    scores = rating_scores(predicted, QUERIES, RatingScale(), spread)
    assert scores["mae"] == pytest.approx((0 + 0 + 0 + 1 + 0) / 5)
    assert scores["rmse"] == pytest.approx((1 / 5) ** 0.5)
    assert scores["median_mae"] == pytest.approx(1 / 5)
    assert 0 < scores["brier_liked"] < 0.1  # 4 and 5 of 5 are liked, and predicted so
    assert scores["mae_raw"] == pytest.approx((2 + 2) / 5)
    assert scores["rmse_raw"] == pytest.approx((8 / 5) ** 0.5)
    assert scores["heldout_ndcg"] == pytest.approx(1.0)


@given(arrays(np.float64, st.integers(2, 30), elements=st.floats(-9, 9, width=16)))
def test_p_is_a_probability_and_does_not_depend_on_order_or_sign(
    differences: "np.typing.NDArray[np.float64]",
) -> None:
    p = paired_p_value(differences)
    assert p is not None
    assert 0 <= p <= 1
    assert paired_p_value(-differences) == pytest.approx(p)
    assert paired_p_value(np.sort(differences)) == pytest.approx(p)


# two-sided points of Student's t from printed tables; the last by integration in 50 digits
TABLE = [(1, 12.706, 0.05), (10, 2.228, 0.05), (37_387, 20.0, 1.60178e-88)]


@pytest.mark.parametrize(("freedom", "t", "p"), TABLE)
def test_tails_are_those_of_the_printed_tables(freedom: int, t: float, p: float) -> None:
    users = freedom + 1
    spread = np.resize([1.0, -1.0], users)
    if users % 2:
        spread[-1] = 0.0
    shift = t / (users if users % 2 else freedom) ** 0.5  # makes the statistic t
    assert paired_p_value(spread + shift) == pytest.approx(p, rel=2e-3, abs=0)
    assert paired_p_value(spread) == 1.0


def test_differences_that_are_all_equal_need_no_spread() -> None:
    assert paired_p_value(np.zeros(5)) == 1.0
    assert paired_p_value(np.full(5, 0.5)) == 0.0
    assert paired_p_value(np.ones(1)) is None


def per_user(method: str, seed: int, mse: dict[str, float], ratings: int = 1) -> pl.DataFrame:
    return pl.DataFrame(
        {"method": method, "user_id": [*mse], "ratings": ratings, "mae": [*mse.values()]}
    ).with_columns(
        mse=pl.col("mae"), median_mae=pl.col("mae"), task=pl.lit("t"), beta=0.2, seed=seed
    )


def rmse_scores(*rows: tuple[str, int, float]) -> pl.DataFrame:
    """Of methods and seeds."""
    scores = pl.DataFrame(rows, ["method", "seed", "value"], orient="row")
    return scores.with_columns(task=pl.lit("t"), beta=0.2, metric=pl.lit("rmse"))


def test_a_sign_test_counts_users_and_ties_do_not_count() -> None:
    differences = np.array([-1.0, -2.0, -9.0, 0.5, 0.0, -0.1])
    assert sign_p_value(differences) == pytest.approx(binomtest(1, 5).pvalue)
    assert sign_p_value(-100 * differences) == pytest.approx(binomtest(4, 5).pvalue)
    assert sign_p_value(np.zeros(3)) == 1.0
    assert sign_p_value(np.ones(1)) is None


def test_p_values_are_corrected_for_their_number() -> None:
    """As by hand: 4 x 0.01, then the larger of that and 3 x 0.012, and so on."""
    corrected = holm(pl.Series([0.03, 0.01, None, 0.5, 0.012]))
    assert corrected.to_list() == [pytest.approx(0.06), 0.04, None, 0.5, 0.04]
    assert holm(pl.Series([0.4, 0.6])).to_list() == [0.8, 0.8]


def test_the_effect_is_the_difference_in_stars_of_all_ratings() -> None:
    draw = np.random.default_rng(2)
    users = [f"u{number}" for number in range(40)]
    base, mine = (dict(zip(users, draw.uniform(0.5, high, 40), strict=True)) for high in (2, 1.6))
    frames = [per_user("base", 1, base, ratings=3), per_user("mine", 1, mine, ratings=3)]
    tested = paired_tests(pl.concat(frames), ["base"])
    by_metric = {row["metric"]: row for row in tested.iter_rows(named=True)}
    losses = [np.mean([*each.values()]) for each in (mine, base)]
    assert by_metric["mae"]["effect"] == pytest.approx(losses[0] - losses[1])
    assert by_metric["rmse"]["effect"] == pytest.approx(losses[0] ** 0.5 - losses[1] ** 0.5)
    differences = np.array([mine[user] - base[user] for user in users])
    expected = ttest_1samp(differences, 0).confidence_interval(0.95)
    assert by_metric["mae"]["users"] == 40
    assert [by_metric["mae"][end] for end in ("low", "high")] == pytest.approx([*expected])


def test_users_held_out_by_more_seeds_weigh_more() -> None:
    """Equal errors over all ratings: a is better off by 1 in two seeds, b worse by 2 in one."""
    frames = [
        per_user("base", 1, {"a": 2.0, "b": 2.0}),
        per_user("base", 2, {"a": 2.0}),
        per_user("mine", 1, {"a": 1.0, "b": 4.0}),
        per_user("mine", 2, {"a": 1.0}),
    ]
    tested = paired_tests(pl.concat(frames), ["base"])
    assert tested["p_value"].to_list() == [1.0, 1.0, 1.0]


def test_what_was_tested_keeps_its_sign_beside_that_of_the_means() -> None:
    """Much better in a seed of few ratings, a little worse in one of many."""
    users = [f"u{number}" for number in range(30)]
    frames = [
        per_user("base", 1, dict.fromkeys(users, 1.0)),
        per_user("base", 2, dict.fromkeys(users, 1.0), ratings=100),
        per_user("mine", 1, dict.fromkeys(users, 0.5)),
        per_user("mine", 2, dict.fromkeys(users, 1.1), ratings=100),
    ]
    scores = rmse_scores(
        ("base", 1, 1.0), ("base", 2, 1.0), ("mine", 1, 0.5**0.5), ("mine", 2, 1.1**0.5)
    )
    tests = paired_tests(pl.concat(frames), ["base"])
    compared = compare(summarise(scores, tests, "base"), tests).filter(pl.col("metric") == "rmse")
    (row,) = compared.iter_rows(named=True)
    assert row["difference"] < 0
    assert row["paired"] == pytest.approx(-0.5 + 100 * 0.1)
    assert row["p_value"] < 0.05


def test_the_summary_averages_seeds_and_pairs_users_within_them() -> None:
    def errors(method: str, seed: int, mse: list[float]) -> pl.DataFrame:
        own = per_user(method, seed, dict(zip("abc", mse, strict=True)))
        return own.with_columns(ratings=pl.Series([1, 1, 2]))

    parts = [errors("base", seed, [1.0, 2.0, 3.0]) for seed in (1, 2)]
    parts += [errors("same", seed, [3.0, 2.0, 2.0]) for seed in (1, 2)]  # summed: 2 - 2 = 0
    parts += [errors("better", 1, [0.8, 1.9, 2.9]), errors("better", 2, [0.9, 1.8, 2.9])]
    scores = rmse_scores(
        *(
            (method, seed, value + 0.1 * seed)
            for seed in (1, 2)
            for method, value in (("base", 1.0), ("same", 1.0), ("better", 0.5))
        )
    )
    tests = paired_tests(pl.concat(parts), ["base", "same"])
    summary = summarise(scores, tests, "base")
    by_method = {row["method"]: row for row in summary.iter_rows(named=True)}
    assert by_method["base"]["p_value"] is None
    assert by_method["same"]["p_value"] == pytest.approx(1.0)
    # d = 0.3, 0.3, 0.4: t = 1 / 0.1 = 10, with 2 degrees P = 1 - 10 / sqrt(102)
    assert by_method["better"]["p_value"] == pytest.approx(1 - 10 / 102**0.5)
    assert by_method["better"]["mean"] == pytest.approx(0.65)
    assert by_method["better"]["sd"] == pytest.approx(0.1 / 2**0.5)
    single = summarise(scores.filter(pl.col("seed") == 1), tests, "base")
    assert {*single["sd"]} == {None}
    rmse = compare(summary, tests).filter(pl.col("metric") == "rmse")
    differences = {(r["reference"], r["method"]): r for r in rmse.iter_rows(named=True)}
    assert differences["base", "better"]["difference"] == pytest.approx(-0.5)
    assert differences["same", "better"]["difference"] == pytest.approx(-0.5)
    assert differences["base", "better"]["p_value"] == by_method["better"]["p_value"]
    assert ("base", "base") not in differences


def test_a_method_that_missed_a_seed_is_not_tested() -> None:
    frames = [per_user(method, 1, {"a": 2.0, "b": 1.0}) for method in ("base", "whole", "half")]
    frames += [per_user(method, 2, {"a": 2.0, "b": 1.0}) for method in ("base", "whole")]
    assert {*paired_tests(pl.concat(frames), ["base"])["method"]} == {"whole"}


def test_a_user_of_two_seeds_is_one_user() -> None:
    errors = pl.concat(
        [per_user("base", seed, {"a": 1.0, "b": 2.0, f"c{seed}": 3.0}) for seed in (1, 2)]
    )
    (row,) = fairness(errors, GroupScores.create_empty()).iter_rows(named=True)
    assert row["users"] == 4
    assert row["user_mae"] == pytest.approx(2.0)


def test_the_worst_tenth_are_those_with_the_largest_errors() -> None:
    errors = per_user("base", 1, {f"u{number}": float(number) for number in range(20)})
    grouped = by_group(
        pl.DataFrame(
            [
                ("base", "history", "5-9", 20, 20, 10.0, 10.0, 10.0),
                ("base", "history", "10-19", 20, 20, 30.0, 50.0, 30.0),
                ("base", "history", "50+", 19, 19, 99.0, 999.0, 99.0),
            ],
            ["method", "grouping", "group", "users", "ratings", "absolute", "squared", "user_mae"],
            orient="row",
        ).with_columns(task=pl.lit("t"), beta=0.2)
    )
    (row,) = fairness(errors, grouped).iter_rows(named=True)
    assert row["worst_tenth"] == pytest.approx((19 + 18) / 2)
    assert row["user_mae"] == pytest.approx(9.5)
    # the third group has too few users to count
    assert (row["best_group"], row["worst_group"]) == pytest.approx((0.5, 1.5))
