"""Lists in a report: paired differences, the strongest baseline, runs without stars."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_rel

from data_contracts.report import ListComparisons, ListSummary
from tasks.models.method_id import MethodId
from tasks.report.comparison import Tally
from tasks.report.findings import findings
from tasks.report.lists import ListResults, compare_lists, strongest, summarise_lists
from tasks.report.page import write_page, write_report
from tests.tasks.test_findings import results

IDS = {
    "metaem_choice": MethodId("metaem_choice", profile="calibrated"),
    "popularity": MethodId("popularity"),
    "ease": MethodId("ease"),
    "metaem": MethodId("metaem", profile="calibrated"),
    "metaem-mf": MethodId("metaem", "mf", "calibrated"),
    "global_mean": MethodId("global_mean"),
}
LEVELS = dict(zip(IDS, (0.6, 0.3, 0.5, 0.2, 0.9, 0.1), strict=True))
CELLS = (("movie-music", 0.2), ("movie-music", 0.5))


def user_lists(seed: int, users: int = 40) -> pl.DataFrame:
    """NDCG of users around their method's level."""
    draw = np.random.default_rng(seed)
    user_ids = [f"u{number}" for number in draw.permutation(60)[:users]]
    frames = [
        pl.DataFrame({"user_id": user_ids, "ndcg": (level + draw.normal(0, 0.1, users)).clip(0, 1)})
        .with_columns(task=pl.lit(task), beta=beta, seed=seed)
        .with_columns(method=pl.lit(method), relevant=pl.lit("chosen"))
        for task, beta in CELLS
        for method, level in LEVELS.items()
    ]
    return pl.concat(frames)


def list_results(*seeds: int) -> ListResults:
    users = pl.concat(user_lists(seed) for seed in seeds)
    keys = ["task", "beta", "seed", "method"]
    means = users.group_by(keys, maintain_order=True).agg(value=pl.col("ndcg").mean())
    measures = ("ndcg_at_10", "hr_at_10", "recall_at_20", "mrr")
    diverse = ("coverage", "first_share", "popularity", "gini")
    scores = pl.concat(
        means.with_columns(relevant=pl.lit(relevant), metric=pl.lit(metric))
        for relevant, metrics in (("chosen", measures), ("", diverse))
        for metric in metrics
    )
    summary = summarise_lists(scores)
    return ListResults(IDS, summary, compare_lists(users, strongest(summary, IDS)))


def test_differences_of_one_seed_are_those_of_scipy() -> None:
    users = user_lists(1).filter(beta=0.2)
    compared = compare_lists(users, {("movie-music", 0.2, "chosen"): "ease"})
    ListComparisons.validate(compared)
    assert compared.height == 2 * (len(IDS) - 1)
    wide = users.pivot("method", index="user_id", values="ndcg")
    for row in compared.iter_rows(named=True):
        test = ttest_rel(wide[row["method"]], wide[row["reference"]])
        low, high = test.confidence_interval(0.95)
        means = wide[row["method"]].mean(), wide[row["reference"]].mean()
        expected = {"difference": means[0] - means[1], "low": low, "high": high}
        assert {name: row[name] for name in expected} == pytest.approx(expected)
        assert row["p_value"] == pytest.approx(test.pvalue)


def test_a_user_of_several_seeds_is_one_observation() -> None:
    users = pl.concat(user_lists(seed) for seed in (1, 2, 3)).filter(beta=0.2)
    compared = compare_lists(users, {})
    wide = users.group_by("user_id", "method").agg(pl.col("ndcg").sum())
    wide = wide.pivot("method", index="user_id", values="ndcg")
    scale = wide.height / users.select("user_id", "seed").n_unique()
    assert 40 < wide.height < 60
    for row in compared.iter_rows(named=True):
        test = ttest_rel(wide[row["method"]] * scale, wide["popularity"] * scale)
        low, high = test.confidence_interval(0.95)
        assert (row["low"], row["high"]) == pytest.approx((low, high))
        assert (row["users"], row["p_value"]) == (wide.height, pytest.approx(test.pvalue))
        means = [users.filter(method=name)["ndcg"].mean() for name in (row["method"], "popularity")]
        assert row["difference"] == pytest.approx(means[0] - means[1])


def test_one_user_has_a_difference_and_no_interval() -> None:
    compared = compare_lists(user_lists(1, users=1), {})
    ListComparisons.validate(compared)
    assert compared["difference"].null_count() == 0
    assert compared.select("low", "high", "p_value").null_count().row(0) == (compared.height,) * 3


def test_the_strongest_baseline_has_every_seed_and_is_not_metaem() -> None:
    shown = list_results(1, 2)
    ListSummary.validate(shown.summary)
    assert {*shown.best.values()} == {"ease"}
    one_seed = pl.when(pl.col("method") == "ease").then(1).otherwise(2).cast(pl.UInt32)
    assert {*strongest(shown.summary.with_columns(seeds=one_seed), IDS).values()} == {"popularity"}


def test_metaem_is_set_against_popularity_and_the_strongest_baseline() -> None:
    both = replace(results(), lists=list_results(1, 2))
    tallies = both.lists.tallies
    assert tallies["popularity"] == tallies["the best baseline of each cell"] == Tally(2, 2, 2, 0)
    (text,) = [each.text for each in findings(both) if each.about == "MetaEM's lists"]
    names = ("metaem_choice", "popularity", "ease")
    ours, popular, best = (f"{both.lists.mean(name, 'ndcg_at_10'):.4f}" for name in names)
    assert text.startswith(
        f"NDCG@10 {ours} against {popular} of popularity and {best} of EASE^R, the best baseline; "
    )
    always = "in 2 of 2 cells (2 significantly)"
    assert text.endswith(f"popularity {always} and the best baseline of each cell {always}.")
    page = write_page(both)
    assert "cells in which MetaEM has a higher NDCG@10 than popularity" in page
    assert ">MetaEM, by stars</th>" in page


def test_a_run_without_stars_is_reported_by_its_lists_alone() -> None:
    whole = results()
    nothing = {
        name: getattr(whole, name).clear()
        for name in ("summary", "comparisons", "groups", "fairness", "curves")
    }
    ids = {name: each for name, each in IDS.items() if each.is_by_choice}
    lists = list_results(1)
    chosen = {
        name: getattr(lists, name).filter(pl.col("method").is_in([*ids]))
        for name in ("summary", "comparisons")
    }
    bare = replace(whole, ids={}, lists=ListResults(ids, **chosen), **nothing)
    assert [each.about for each in findings(bare)] == ["MetaEM's lists"]
    page, text = write_page(bare), write_report(bare)
    assert "RMSE" not in page + text
    assert "Movie → Music" in page
    assert f"{lists.mean('metaem_choice', 'ndcg_at_10'):.4f}" in page
    assert ">EASE^R</th>" in page
    assert "by stars" not in page
