"""Each schema accepts what keeps its promises and refuses a frame that breaks one promise."""

import dataframely as dy
import polars as pl
import pytest
from dataframely.exc import ValidationError

from data_contracts.embeddings import item_embeddings, user_embeddings
from data_contracts.evaluation import ExperimentCurves, GroupErrors, Scores, UserErrors
from data_contracts.ratings import FilterCounts, Items, Ratings, Users, k_core
from data_contracts.report import Summary
from data_contracts.split import Split
from data_contracts.statistics import DomainStatistics
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
    told = refusal(k_core(4), ratings(GRID))
    assert "'every_item_has_k_ratings' failed for 12 rows" in told
    assert "every_user" not in told
    assert "'every_user_has_k_ratings' failed for 3 rows" in refusal(k_core(4), ratings(GRID[:-1]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_infinite_ratings_are_refused(value: float) -> None:
    assert "'rating'" in refusal(Ratings, ratings([(0, 0, value, None)]))


@pytest.mark.parametrize("schema", [Users, Items])
@pytest.mark.parametrize("ids", [["b", "a"], ["a", "a"], [""]])
def test_ids_ascend_and_are_not_blank(schema: type[dy.Schema], ids: list[str]) -> None:
    refusal(schema, pl.DataFrame({schema.column_names()[0]: ids}))


def test_a_user_has_one_known_role() -> None:
    Split.validate(pl.DataFrame({"user_id": ["a", "b"], "role": ["cold", "train"]}))
    refusal(Split, pl.DataFrame({"user_id": ["a", "a"], "role": ["cold", "train"]}))
    assert "'role'" in refusal(Split, pl.DataFrame({"user_id": ["a"], "role": ["warm"]}))


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


COUNTS = dict.fromkeys(FilterCounts.column_names(), 1) | {"lines": 10, "ratings": 1}


def test_every_line_is_accounted_for() -> None:
    FilterCounts.validate(FilterCounts.cast(pl.DataFrame([COUNTS])))
    lost = FilterCounts.cast(pl.DataFrame([COUNTS | {"lines": 11}]))
    assert "every_line_is_kept_or_dropped" in refusal(FilterCounts, lost)


@pytest.mark.parametrize("metric", ["HR@10", "", "1st", "a b"])
def test_metric_names_suit_every_tracking_server(metric: str) -> None:
    Scores.validate(pl.DataFrame({"method": ["m"], "metric": ["hr_at_10"], "value": [0.5]}))
    told = refusal(Scores, pl.DataFrame({"method": ["m"], "metric": [metric], "value": [0.5]}))
    assert "'metric'" in told


def test_a_users_mean_square_is_no_less_than_his_mean_squared() -> None:
    row = {"method": ["m"], "user_id": ["u"], "ratings": [2], "mae": [1.0]}
    UserErrors.validate(UserErrors.cast(pl.DataFrame(row | {"mse": [1.0]})))
    told = refusal(UserErrors, UserErrors.cast(pl.DataFrame(row | {"mse": [0.9]})))
    assert "mean_square_bounds" in told


def test_the_overlap_is_part_of_each_domain() -> None:
    row = {"domain": "a", "users": 2, "items": 1, "ratings": 2, "density": 1.0, "mean_rating": 3.0}
    DomainStatistics.validate(DomainStatistics.cast(pl.DataFrame([row | {"overlap": 2}])))
    told = refusal(DomainStatistics, DomainStatistics.cast(pl.DataFrame([row | {"overlap": 3}])))
    assert "overlap_users_are_users" in told


@pytest.mark.parametrize(("seeds", "sd"), [(1, 0.0), (2, None)])
def test_a_single_seed_has_no_deviation(seeds: int, sd: float | None) -> None:
    row = {"task": "t", "beta": 0.2, "method": "m", "metric": "mae", "mean": 1.0, "p_value": None}
    Summary.validate(Summary.cast(pl.DataFrame([row | {"seeds": 1, "sd": None}])))
    Summary.validate(Summary.cast(pl.DataFrame([row | {"seeds": 2, "sd": 0.0}])))
    told = refusal(Summary, Summary.cast(pl.DataFrame([row | {"seeds": seeds, "sd": sd}])))
    assert "several_seeds_have" in told


def test_a_group_has_no_more_users_than_ratings() -> None:
    row = {"method": ["m"], "grouping": ["history"], "group": ["5-9"], "ratings": [2]}
    row |= {"absolute": [1.0], "squared": [1.0], "user_mae": [0.5]}
    GroupErrors.validate(GroupErrors.cast(pl.DataFrame(row | {"users": [2]})))
    told = refusal(GroupErrors, GroupErrors.cast(pl.DataFrame(row | {"users": [3]})))
    assert "a_user_has_a_rating" in told
