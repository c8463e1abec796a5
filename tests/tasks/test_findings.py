"""What a report says of numbers that are known."""

import math
from collections.abc import Mapping
from dataclasses import replace

import polars as pl
import pytest

from data_contracts.evaluation import ExperimentCurves
from data_contracts.pictures import Closeness, Points
from data_contracts.report import GroupScores, ListComparisons, ListSummary
from tasks.models.method_id import MethodId, bias_transfer_dp
from tasks.report.comparison import Tally
from tasks.report.findings import findings, tally
from tasks.report.lists import ListResults
from tasks.report.page import write_page, write_report
from tasks.report.paper_tables import TABLE_2
from tasks.report.provenance import Origin
from tasks.report.results import Results

RMSE = {  # by method, in two cells
    "global_mean": (1.0, 1.0),
    "bias_transfer": (0.95, 0.95),
    "bias_transfer_fitted": (0.90, 0.94),
    "metaem": (0.91, 0.92),
    "emcdr": (0.93, 1.01),
    "emcdr-dnn": (0.92, 0.93),
    "metaem-paper": (1.20, 1.10),
    "tgt-paper": (5.00, 0.99),
    "bias_transfer_dp4": (0.97, 0.99),
    "bias_transfer_dpinf": (0.93, 0.94),
}
METHODS = (
    *map(MethodId, ("global_mean", "bias_transfer", "bias_transfer_fitted")),
    MethodId("metaem", profile="calibrated"),
    MethodId("emcdr", "mf", "calibrated"),
    MethodId("emcdr", "dnn", "calibrated"),
    MethodId("metaem", profile="paper"),
    MethodId("tgt", "mf", "paper"),
    *map(bias_transfer_dp, (4.0, math.inf)),
)
IDS = {name: method for name, method in zip(RMSE, METHODS, strict=True)}
REFERENCES = ("global_mean", "bias_transfer", "bias_transfer_fitted")
CELLS = (("movie-music", 0.2), ("movie-music", 0.5))


def results(rmse: Mapping[str, tuple[float, ...]] = RMSE) -> Results:
    """Every difference of more than 0.015 is significant."""
    scores = [
        (*cell, method, metric, 2, values[place], 0.01, None)
        for place, cell in enumerate(CELLS)
        for method, values in rmse.items()
        for metric in ("mae", "median_mae", "rmse", "mae_raw", "rmse_raw")
    ]
    columns = ["task", "beta", "method", "metric", "seeds", "mean", "sd", "p_value"]
    compared = [
        (*cell, "rmse", reference, method, gap, gap, 0.01 if abs(gap) > 0.015 else 0.5)
        for place, cell in enumerate(CELLS)
        for reference in REFERENCES
        for method, values in rmse.items()
        if method != reference
        for gap in [values[place] - rmse[reference][place]]
    ]
    served = ["task", "beta", "method", "users", "user_mae", "worst_tenth"]
    fairness = pl.DataFrame(
        [(*cell, method, 9, 0.8, 1.6) for cell in CELLS for method in rmse], served, orient="row"
    )
    groups = [
        (*cell, method, grouping, "5-9", 9, 18, 0.8, values[place], 0.8)
        for place, cell in enumerate(CELLS)
        for method, values in rmse.items()
        for grouping in ("history", "popularity")
    ]
    cell = {"task": pl.lit(""), "beta": pl.lit(0.5), "seed": pl.lit(1)}
    nothing = pl.lit("", pl.String).alias("task")
    return Results(
        reference="bias_transfer",
        ids=IDS,
        summary=pl.DataFrame(scores, columns, orient="row"),
        comparisons=pl.DataFrame(
            compared,
            ["task", "beta", "metric", "reference", "method", "difference", "paired", "p_value"],
            orient="row",
        ),
        groups=pl.DataFrame(groups, GroupScores.column_names(), orient="row"),
        fairness=fairness.with_columns(best_group=0.7, worst_group=0.9),
        curves=ExperimentCurves.create_empty().with_columns(**cell),
        lists=ListResults({}, ListSummary.create_empty(), ListComparisons.create_empty()),
        statistics={},
        points=Points.create_empty().with_columns(nothing),
        closeness=Closeness.create_empty().with_columns(nothing),
        origin=Origin({}, False, [], {}, [], {}),
        missing=[],
    )


def sentences(shown: Results) -> dict[str, str]:
    return {each.about: each.text for each in findings(shown)}


@pytest.mark.parametrize(
    ("method", "name", "label"),
    [
        (MethodId("item_mean"), "item_mean", "item mean"),
        (MethodId("emcdr", "mf", "calibrated"), "emcdr", "EMCDR"),
        (MethodId("emcdr", "gmf", "paper"), "emcdr-gmf-paper", "EMCDR (GMF)"),
        (MethodId("metaem", profile="paper"), "metaem-paper", "MetaEM"),
        (MethodId("metaem", "mf", "calibrated"), "metaem-mf", "MetaEM (MF)"),
        (bias_transfer_dp(0.5), "bias_transfer_dp0.5", "bias transfer, DP ε 0.5"),
        (bias_transfer_dp(math.inf), "bias_transfer_dpinf", "bias transfer, DP ε ∞"),
    ],
)
def test_a_method_has_one_name_for_tables_and_one_for_readers(
    method: MethodId, name: str, label: str
) -> None:
    assert (method.name, method.label) == (name, label)


def test_cells_are_counted_and_only_sure_differences_are_called_so() -> None:
    both = results()
    assert tally(both, "metaem", "global_mean") == Tally(2, 2, 2, 0)
    assert tally(both, "metaem", "bias_transfer_fitted") == Tally(2, 1, 1, 0)
    assert tally(both, "emcdr", "bias_transfer_fitted") == Tally(2, 0, 0, 2)
    assert str(tally(both, "emcdr", "global_mean")) == "1 of 2 cells (1 significantly)"
    assert str(tally(both, "emcdr", "bias_transfer_fitted")) == (
        "0 of 2 cells (2 significantly worse)"
    )


def test_a_single_seed_has_no_deviation_to_show() -> None:
    several = results()
    one = replace(several, summary=several.summary.with_columns(sd=None, seeds=1))
    assert "\n| metaem | 0.9100 ± 0.0100 | 0.9100 ± 0.0100 | " in write_report(several)
    assert "\n| metaem" + 5 * " | 0.9100" + " |  |\n" in write_report(one)


def test_significance_has_the_sign_of_what_was_tested() -> None:
    """Means over seeds weigh every seed alike, the paired test every rating."""
    both = results()
    turned = replace(both, comparisons=both.comparisons.with_columns(-pl.col("paired")))
    assert tally(turned, "metaem", "global_mean") == Tally(2, 2, 0, 2)
    assert tally(turned, "emcdr", "bias_transfer_fitted") == Tally(2, 0, 2, 0)
    assert str(tally(turned, "emcdr", "bias_transfer_fitted")) == "0 of 2 cells (2 significantly)"


def test_the_lowest_rmse_is_given_with_the_distance_of_the_next() -> None:
    first = sentences(results())["Lowest mean RMSE"]
    assert first == "MetaEM has 0.9150; fitted bias transfer is next with a 0.5% higher RMSE."
    worse = sentences(results({**RMSE, "metaem": (0.93, 0.95)}))["Lowest mean RMSE"]
    assert worse == "fitted bias transfer has 0.9200; MetaEM is 3rd of 6 with a 2.2% higher RMSE."
    equal = sentences(results({**RMSE, "emcdr-dnn": RMSE["metaem"]}))["Lowest mean RMSE"]
    assert equal.endswith("EMCDR (DNN) is next with the same RMSE.")


def test_where_nothing_is_left_to_predict_the_distance_is_in_stars() -> None:
    exact = dict.fromkeys(RMSE, (0.0, 0.0))
    first = sentences(results(exact))
    assert first["Lowest mean RMSE"].endswith("with the same RMSE.")
    assert "has 0.0000" in first["Methods as published"]
    worse = sentences(results({**exact, "metaem": (0.25, 0.25)}))["Lowest mean RMSE"]
    assert worse.endswith("MetaEM is 6th of 6 with 0.2500.")


def test_published_methods_are_set_against_a_constant() -> None:
    published = sentences(results())["Methods as published"]
    assert (
        "0 of 2 have a lower RMSE than the global mean in every cell, and 1 in no cell" in published
    )
    assert "MetaEM, has 1.15 times" in published
    others = sentences(results())["Other calibrated methods"]
    assert "None of the 2 beats fitted bias transfer" in others


def test_rows_with_dp_stand_apart_from_methods_without() -> None:
    assert sentences(results())["Differential privacy"] == (
        "mean RMSE 0.9800 (bias transfer, DP ε 4), 0.9350 (bias transfer, DP ε ∞), "
        "0.9500 (bias transfer), 0.9150 (MetaEM) and 1.0000 (global mean)."
    )
    assert "ε" not in sentences(results())["Other calibrated methods"]


def test_the_papers_numbers_are_used_only_where_the_data_are_its_own() -> None:
    ours = results()
    assert "The paper's own numbers" not in sentences(ours)
    printed = TABLE_2["movie-music"]
    rows = [
        (name, side.users, side.items, side.ratings, printed.overlap, 0.1, 4.0)
        for name, side in (("movie", printed.source), ("music", printed.target))
    ]
    names = ["domain", "users", "items", "ratings", "overlap", "density", "mean_rating"]
    statistics = {"movie-music": pl.DataFrame(rows, names, orient="row")}
    same = replace(ours, statistics=statistics)
    assert sentences(same)["The paper's own numbers"].startswith("14 of its 14 RMSEs")
    made_up = replace(same, origin=replace(same.origin, generated=True))
    assert "The paper's own numbers" not in sentences(made_up)


def test_it_is_said_what_counts_as_a_user() -> None:
    several = results()
    assert "(9 users, summed over seeds)" in write_page(several)
    one = several.summary.with_columns(seeds=1, sd=None)
    assert "(9 users)" in write_page(replace(several, summary=one))


def test_text_is_escaped() -> None:
    page = write_page(replace(results(), missing=["1 < 2 & <script>"]))
    assert "<li>1 &lt; 2 &amp; &lt;script&gt;</li>" in page


@pytest.mark.parametrize("methods", [("metaem",), ("emcdr",), ("metaem-paper",), ()])
def test_a_report_on_few_methods_leaves_out_what_it_cannot_say(methods: tuple[str, ...]) -> None:
    few = results({name: RMSE[name] for name in (*REFERENCES, *methods)})
    assert "Lowest mean RMSE" in sentences(few)
    assert ("MetaEM" in sentences(few)) == ("metaem" in methods)
    assert ("Methods as published" in sentences(few)) == ("metaem-paper" in methods)
    page = write_page(few)
    for method in methods:
        assert f">{IDS[method].label}</th>" in page
