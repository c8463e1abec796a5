"""The whole flow on a small planted world."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from flows.cli.report import newest_report
from flows.experiment import run
from flows.profiles import PROFILES
from flows.settings import read_settings
from metaem_core.methods.baselines.trivial import TRIVIAL
from tasks.models.evaluated_cell import evaluated_cell
from tasks.progress import Finished, Step, listening
from tasks.store.artifacts import ArtifactRef
from tasks.store.lookup import ancestors
from tests.conftest import SMALL, FinishedRun
from tests.support.damage import delete, edit, truncate


def states(done: FinishedRun, **changes: object) -> tuple[Counter[str], Counter[str]]:
    """How many runs of each stage another run of the flow computes, and how many it reuses."""
    settings = done.settings.model_copy(update=changes)
    computed, reused = Counter[str](), Counter[str]()

    def hear(news: Step | Finished) -> None:
        if isinstance(news, Finished):
            (reused if news.reused else computed)[news.label.split()[0]] += 1

    with listening(hear):
        run(settings)
    return computed, reused


STAGES = {
    "download": 2,
    "filter": 2,
    "twins": 1,
    "statistics": 1,
    "split": 2,
    "pretrain": 3,
    "mapping": 2,
    "choice_pretrain": 3,
    "choice_mapping": 2,
    "evaluate": 2,
    "rank": 2,
    "visualise": 1,
    "report": 1,
}


def test_every_method_is_scored_for_every_cell(finished_run: FinishedRun) -> None:
    store, outcome = finished_run.store, finished_run.outcome
    assert [evaluated_cell(store, ref)["beta"] for ref in outcome.evaluations] == [0.3, 0.6]
    for ref in outcome.evaluations:
        scores = store.read_frame(ref, "scores.parquet")
        assert {*scores["method"]} == {*TRIVIAL, "metaem"}
        assert scores.group_by("metric").len()["len"].unique().to_list() == [len(TRIVIAL) + 1]


def test_scores_are_those_of_the_predictions_row_by_row_and_of_all_groups(
    finished_run: FinishedRun,
) -> None:
    store, (ref, _) = finished_run.store, finished_run.outcome.evaluations
    error = pl.col("prediction").clip(1, 5).cast(pl.Float64) - pl.col("rating")
    frame = store.read_frame(ref, "predictions.parquet")
    expected = frame.group_by("method").agg(mae=error.abs().mean(), rmse=error.pow(2).mean().sqrt())
    summed = (
        store.read_frame(ref, "groups.parquet")
        .group_by("method", "grouping")
        .agg(pl.col("absolute", "squared", "ratings").sum())
        .select(
            "method",
            mae=pl.col("absolute") / pl.col("ratings"),
            rmse=(pl.col("squared") / pl.col("ratings")).sqrt(),
        )
    )
    scores = store.read_frame(ref, "scores.parquet").pivot("metric", index="method")
    for errors, rows, tolerance in ((expected, 1, 1e-6), (summed, 2, 1e-9)):
        both = errors.join(scores, on="method", suffix="_scored")
        assert both.height == rows * (len(TRIVIAL) + 1)
        for metric in ("mae", "rmse"):
            assert (both[metric] - both[f"{metric}_scored"]).abs().max() < tolerance


def test_exactly_the_cold_users_ratings_are_predicted(finished_run: FinishedRun) -> None:
    store, (ref, _) = finished_run.store, finished_run.outcome.evaluations
    origin = ancestors(store, ref)
    roles = store.read_frame(origin["split"], "split.parquet")
    users = store.read_frame(origin["target"], "users.parquet").with_row_index("user")
    items = store.read_frame(origin["target"], "items.parquet").with_row_index("item")
    hidden = (
        store.read_frame(origin["target"], "ratings.parquet")
        .join(users, on="user")
        .join(items, on="item")
        .join(roles.filter(pl.col("role") == "cold"), on="user_id", how="semi")
    )
    predicted = store.read_frame(ref, "predictions.parquet").filter(pl.col("method") == "metaem")
    columns = ["user_id", "item_id", "rating"]
    assert predicted.select(columns).sort(columns).equals(hidden.select(columns).sort(columns))


def test_stages_run_once_and_the_source_is_trained_once_for_both_betas(
    finished_run: FinishedRun,
) -> None:
    ends = [news for news in finished_run.news if isinstance(news, Finished)]
    assert not any(news.reused for news in ends)
    assert Counter(news.label.split()[0] for news in ends) == STAGES
    notes = [news.note for news in finished_run.news if isinstance(news, Step)]
    assert any("loss" in note for note in notes)


def test_a_repeated_run_computes_nothing_and_damage_is_repaired_alone(
    finished_run: FinishedRun,
) -> None:
    assert states(finished_run) == (Counter(), Counter(STAGES))
    store, outcome = finished_run.store, finished_run.outcome
    origin = ancestors(store, outcome.evaluations[0])
    delete(store.file(origin["split"], "split.parquet"))
    truncate(store.file(origin["target_model"], "users.parquet"))
    edit(store.file(origin["source"], "ratings.parquet"))
    computed, _ = states(finished_run)
    assert computed == Counter(split=1, pretrain=1, filter=1)


def test_a_new_beta_shares_the_source(finished_run: FinishedRun) -> None:
    computed, reused = states(finished_run, betas=(0.4,))
    fresh = Counter(split=1, pretrain=1, mapping=1, evaluate=1, visualise=1, report=1)
    assert computed == fresh + Counter(choice_pretrain=1, choice_mapping=1, rank=1)
    assert reused["pretrain"] == reused["choice_pretrain"] == 1


def test_scoring_differently_does_not_retrain(finished_run: FinishedRun) -> None:
    computed, _ = states(finished_run, ranking_users=5)
    assert computed == Counter(rank=2, report=1)
    report = replace(finished_run.settings.report, reference="item_mean")
    assert states(finished_run, report=report)[0] == Counter(report=1)


def test_the_report_says_how_this_run_was_configured(finished_run: FinishedRun) -> None:
    """Where two settings give the same bytes too, and after going back to the first."""

    def shown() -> str:
        page = finished_run.store.file(newest_report(finished_run.store), "report.html")
        return re.findall(r"patience = \d+", page.read_text())[0]

    settings = finished_run.settings
    before = settings.pretrain.patience
    patient = replace(settings.pretrain, patience=before + 1)
    computed, _ = states(finished_run, pretrain=patient)
    assert computed == Counter(pretrain=3, report=1)
    assert shown() == f"patience = {before + 1}"
    states(finished_run)
    assert shown() == f"patience = {before}"


@pytest.mark.night
def test_as_printed_no_stage_is_given_a_calibrated_setting(
    prefect_server: None, tmp_path: Path
) -> None:
    options = {"store": tmp_path / "store", "profile": "paper", "methods": "emcdr", "betas": "0.5"}
    settings = read_settings({**options, "config": None}, SMALL)
    store, outcome = settings.open_store(), run(settings, until="baseline")
    given: dict[str, list[dict[str, object]]] = {}
    for _, ref in outcome.artifacts:
        config = dict(store.manifest(ref).provenance.config)
        given.setdefault(ref.stage, []).append(config)
    (request,) = given["baseline"]
    counted = {"pretrain": 2, "mapping": 1, "factorise": 2}
    assert {stage: len(given[stage]) for stage in counted} == counted
    paper = json.loads(json.dumps(PROFILES["paper"]))
    paper["pretrain"]["epochs"] = 2  # SMALL says so
    configs = [(paper["transfer"], request["config"]), (paper["factors"], request["factors"])]
    for stage, name in (("pretrain",) * 2, ("mapping",) * 2, ("factorise", "factors")):
        configs += [(paper[name], config) for config in given[stage]]
    for expected, config in configs:
        assert {**config, **expected} == config


def test_unknown_stages_are_refused_before_anything_runs(finished_run: FinishedRun) -> None:
    with pytest.raises(ValueError, match="no stage 'evalute'"):
        run(finished_run.settings, until="evalute")


def test_a_report_compares_means_and_pairs_users(finished_run: FinishedRun) -> None:
    store, report = finished_run.store, finished_run.outcome.report
    assert isinstance(report, ArtifactRef)
    summary = store.read_frame(report, "summary.parquet")
    reference = summary.filter(pl.col("method") == "bias_transfer")
    assert reference["p_value"].null_count() == reference.height
    tested = summary.filter(
        (pl.col("method") != "bias_transfer") & pl.col("metric").is_in(["mae", "rmse"])
    )
    assert tested["p_value"].null_count() == 0
    text = store.file(report, "report.md").read_text()
    assert all(method in text for method in TRIVIAL)
    for name in ("scores.png", "curves.png", "groups.png", "vectors.png"):
        assert store.file(report, name).read_bytes().startswith(b"\x89PNG")
