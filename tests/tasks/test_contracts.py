"""Each schema accepts what keeps its promises and refuses a frame that breaks one promise."""

import dataframely as dy
import polars as pl
import pytest
from dataframely.exc import ValidationError

from data_contracts.embeddings import item_embeddings, user_embeddings
from data_contracts.evaluation import Calibration, ExperimentCurves, GroupErrors, Scores, UserErrors
from data_contracts.ratings import (
    DomainStatistics,
    FilterCounts,
    Items,
    Ratings,
    Split,
    Users,
    k_core,
)
from data_contracts.report import ListComparisons, ListSummary, Summary
from data_contracts.training import LearningCurve

GRID = [(user, item, 3.0, None) for user in range(3) for item in range(4)]


def ratings(rows: list[tuple[int, int, float, None]]) -> pl.DataFrame:
    return Ratings.cast(pl.DataFrame(rows, schema=Ratings.column_names(), orient="row"))


def refusal(schema: type[dy.Schema], frame: pl.DataFrame) -> str:
    with pytest.raises(ValidationError) as caught:
        schema.validate(frame)
    return str(caught.value)


def test_ratings_in_order_without_duplicates_are_accepted() -> None:
    Ratings.validate(ratings(GRID))
    k_core(3).validate(ratings(GRID))


@pytest.mark.parametrize("rows", [[GRID[1], GRID[0]], [GRID[0], GRID[0]], [GRID[4], GRID[3]]])
def test_unsorted_or_double_ratings_are_refused(rows: list[tuple[int, int, float, None]]) -> None:
    assert "sorted_by_user_and_item" in refusal(Ratings, ratings(rows))


def test_ratings_outside_the_core_are_counted() -> None:
    refused = refusal(k_core(4), ratings(GRID))
    assert "'every_item_has_k_ratings' failed for 12 rows" in refused
    assert "every_user" not in refused
    assert "'every_user_has_k_ratings' failed for 3 rows" in refusal(k_core(4), ratings(GRID[:-1]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_infinite_ratings_are_refused(value: float) -> None:
    assert "'rating'" in refusal(Ratings, ratings([(0, 0, value, None)]))


@pytest.mark.parametrize("schema", [Users, Items])
@pytest.mark.parametrize("ids", [["b", "a"], ["a", "a"], [""]])
def test_ids_ascend_and_are_not_blank(schema: type[dy.Schema], ids: list[str]) -> None:
    refusal(schema, pl.DataFrame({schema.column_names()[0]: ids}))


def test_embeddings_have_one_width_and_finite_numbers() -> None:
    schema = user_embeddings(2, 2)
    lists = pl.Array(pl.Float32, 2)
    columns = {"user_id": pl.String, "embedding": lists, "vector": lists}
    good = pl.DataFrame([("a", [1.0, 2.0], [3.0, 4.0])], schema=columns, orient="row")
    schema.validate(good)
    assert "'vector'" in refusal(
        schema,
        pl.DataFrame([("a", [1.0, 2.0], [3.0, float("nan")])], schema=columns, orient="row"),
    )
    refusal(schema, pl.concat([good, good]))
    assert item_embeddings(3).column_names() == ["item_id", "embedding", "bias"]


def curve(epochs: list[int]) -> pl.DataFrame:
    frame = pl.DataFrame({"epoch": epochs}).with_columns(
        loss=1.0, validation_mae=0.8, validation_rmse=0.9, ratings=10
    )
    return LearningCurve.cast(frame.select(LearningCurve.column_names()))


@pytest.mark.parametrize("epochs", [[1, 3], [2, 3], [2], [1, 1], [2, 1]])
def test_epochs_count_from_one(epochs: list[int]) -> None:
    LearningCurve.validate(curve([1, 2, 3]))
    assert "epochs_count_from_one" in refusal(LearningCurve, curve(epochs))


def test_an_epoch_is_validated_by_both_errors_or_neither() -> None:
    half = curve([1]).with_columns(validation_mae=pl.lit(None, pl.Float64))
    assert "both_errors_are_validated" in refusal(LearningCurve, half)
    LearningCurve.validate(half.with_columns(validation_rmse=pl.lit(None, pl.Float64)))


def test_stages_of_an_experiment_have_a_curve_each() -> None:
    two = pl.concat([curve([1, 2]).with_columns(stage=pl.lit(name)) for name in "ab"])
    ExperimentCurves.validate(two)
    refusal(ExperimentCurves, pl.concat([two, two]))


COUNTS = dict.fromkeys(FilterCounts.column_names(), 1) | {"lines": 11, "ratings": 1}
SCORE = {"method": "m", "metric": "hr_at_10", "value": 0.5}
ERRORS = {"method": "m", "user_id": "u", "ratings": 2, "mae": 1.0, "mse": 1.0}
ERRORS |= {"median_mae": 1.0}
TENTH = {"method": "m", "tenth": 3, "ratings": 2, "expected": 0.6, "liked": 1}
DOMAIN = {"domain": "a", "users": 2, "items": 1, "ratings": 2, "overlap": 2, "density": 1.0}
DOMAIN |= {"mean_rating": 3.0, "twins": 0}
CELL = {"task": "t", "beta": 0.2, "method": "m", "metric": "mae", "mean": 1.0, "p_value": None}
ONE, TWO = CELL | {"seeds": 1, "sd": None}, CELL | {"seeds": 2, "sd": 0.0}
LIST = {"task": "t", "beta": 0.2, "method": "m", "relevant": "chosen", "metric": "mrr", "mean": 0.5}
LIST |= {"seeds": 1, "sd": None}
DIFFERENCE = {"task": "t", "beta": 0.2, "relevant": "chosen", "reference": "r", "method": "m"}
DIFFERENCE |= {"users": 2, "difference": 0.1, "low": 0.0, "high": 0.2, "p_value": 0.05}
GROUP = {"method": "m", "grouping": "history", "group": "5-9", "users": 2, "ratings": 2}
GROUP |= {"absolute": 1.0, "squared": 1.0, "user_mae": 0.5}
BROKEN: list[tuple[type[dy.Schema], dict[str, object], dict[str, object], str]] = [
    (Split, {"user_id": "a", "role": "cold"}, {"role": "warm"}, "'role'"),
    (FilterCounts, COUNTS, {"lines": 10}, "every_line_is_kept_or_dropped"),
    *((Scores, SCORE, {"metric": name}, "'metric'") for name in ("HR@10", "", "1st", "a b")),
    (UserErrors, ERRORS, {"mse": 0.9}, "mean_square_bounds"),
    (Calibration, TENTH, {"liked": 3}, "no_more_are_liked"),
    (DomainStatistics, DOMAIN, {"overlap": 3}, "overlap_users_are_users"),
    (Summary, ONE, {"sd": 0.0}, "several_seeds_have"),
    (Summary, TWO, {"sd": None}, "several_seeds_have"),
    (GroupErrors, GROUP, {"users": 3}, "a_user_has_a_rating"),
    (ListSummary, LIST, {"sd": 0.0}, "several_seeds_have"),
    (ListSummary, LIST, {"relevant": "read"}, "'relevant'"),
    (ListComparisons, DIFFERENCE, {"method": "r"}, "no_method_is_its_own"),
    (ListComparisons, DIFFERENCE, {"difference": 0.3}, "the_difference_is_in_its_interval"),
]


@pytest.mark.parametrize(("schema", "row", "change", "rule"), BROKEN)
def test_a_row_that_breaks_a_rule_is_refused(
    schema: type[dy.Schema], row: dict[str, object], change: dict[str, object], rule: str
) -> None:
    schema.validate(schema.cast(pl.DataFrame([row])))
    assert rule in refusal(schema, schema.cast(pl.DataFrame([row | change])))


def test_a_user_has_one_role() -> None:
    refusal(Split, pl.DataFrame({"user_id": ["a", "a"], "role": ["cold", "train"]}))
