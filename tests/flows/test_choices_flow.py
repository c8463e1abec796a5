"""Domains of choices through the pipeline: files without ratings, lists without stars."""

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from mlflow import MlflowClient

from data_contracts.recommendations import Recommendations
from flows.cli.report import newest_report
from flows.experiment import run
from flows.notes import notes
from flows.settings import Settings, read_settings
from tasks.recommend.artifact import open_recommender
from tasks.recommend.histories import new_users
from tasks.recommend.selected_model import ranked_model
from tasks.recommend.top_n import recommend
from tasks.stages.recommender import recommender_of
from tasks.store.artifacts import Store
from tasks.tracking.server import Tracking


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plays of 80 users, each of one of two genres in both domains; films have stars too."""
    folder, draw = tmp_path_factory.mktemp("plays"), np.random.default_rng(1)
    for name in ("film", "song"):
        rows = [(u, i) for u in range(80) for i in range(u % 2, 40, 2) if draw.random() < 0.5]
        users, items = np.array(rows).T
        ids = {"user_id": [f"u{user}" for user in users], "item_id": [f"{name}{i}" for i in items]}
        pl.DataFrame(ids).write_csv(folder / f"{name}.csv")
        stars = pl.Series("rating", draw.integers(1, 6, len(rows)))
        pl.DataFrame(ids).with_columns(stars).write_csv(folder / f"rated_{name}.csv")
    return folder


def chosen(files: Path, *dotted: str) -> Settings:
    options = {"store": files / "store", "config": None, "source": "files", "task": "film-song"}
    return read_settings(options | {"betas": "0.4"}, ["files.files.song=song.csv", *dotted])


CASES = {
    "both": ("film.csv", "feedback=choices"),
    "mixed": ("rated_film.csv", "feedback.song=choices", "choice.threshold=2"),
}


def test_rated_files_are_read_as_choices_on_demand(
    files: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    settings = chosen(files, "files.files.film=rated_film.csv", "feedback=choices")
    outcome = run(settings, until="statistics")
    assert outcome.left_out is None, "no step was reached that needs stars"
    rated = Store(settings.store).read_frame(outcome.domains["film"], "ratings.parquet")
    assert rated["rating"].unique().to_list() == [1.0]


def test_a_run_on_choices_ranks_reports_and_logs(
    files: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    settings = chosen(files, "files.files.film=film.csv", "feedback=choices", "twins=drop")
    outcome = run(settings.model_copy(update={"ranking_negatives": 9}))
    store, report = Store(settings.store), outcome.report
    assert (outcome.evaluations, outcome.missing, len(outcome.rankings)) == ((), (), 1)
    assert report is not None
    lists = store.read_frame(report, "list_summary.parquet")
    assert "metaem_choice" in lists["method"]
    assert store.read_frame(report, "summary.parquet").is_empty()
    assert newest_report(store) == report
    page = store.file(report, "report.html").read_text()
    assert "Film → Song" in page
    assert "RMSE" not in page
    assert ">EMCDR on iALS</th>" in page
    assert "among random others" in page
    client = MlflowClient(Tracking.inside(store).uri)
    experiment = client.get_experiment_by_name("film-song")
    assert experiment is not None
    logged = client.search_runs([experiment.experiment_id])
    kinds = Counter(each.data.tags["kind"] for each in logged)
    assert kinds == {"report": 1, "cell": 1, "method": lists["method"].n_unique()}
    (cell,) = (each for each in logged if each.data.tags["kind"] == "cell")
    assert cell.data.tags["artifact"] == str(outcome.rankings[0])
    assert cell.data.metrics["ndcg_at_10/metaem_choice"] > 0


def test_dropped_twins_reach_no_later_stage(
    files: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    films, songs = pl.read_csv(files / "film.csv"), pl.read_csv(files / "song.csv")
    musical = songs.filter(item_id="song0").with_columns(item_id=pl.lit("musical"))
    pl.concat([films, musical]).write_csv(files / "both.csv")
    dotted = "files.files.film=both.csv", "feedback=choices"
    items, lines = {}, {}
    for twins in ("keep", "drop"):
        outcome = run(chosen(files, *dotted, f"twins={twins}"), until="choice_mapping")
        store, artifacts = Store(files / "store"), dict(outcome.artifacts)
        assert outcome.twins is not None
        assert outcome.statistics is not None
        pairs = store.read_frame(outcome.twins, "twins.parquet")
        assert pairs.rows() == [("musical", "song0", musical.height, 1.0)]
        assert store.read_frame(outcome.statistics, "statistics.parquet")["twins"].sum() == 2
        trained = artifacts["choice_pretrain film seed 1"]
        items[twins] = {*store.read_frame(trained, "items.parquet")["item_id"]}
        lines[twins] = [line for line in notes(store, outcome) if "raters" in line]
    assert items["keep"] - items["drop"] == {"musical"}
    assert lines["drop"] == [
        "film: 1 item(s) with nearly the same raters as an item of song, left out"
    ]
    assert "--set twins=drop" in lines["keep"][0]


@pytest.mark.parametrize("case", CASES)
def test_lists_come_of_choices_alone(
    files: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """A new user who chose films of one genre gets songs of it; one star is no choice."""
    monkeypatch.chdir(files)
    film, *dotted = CASES[case]
    settings = chosen(files, f"files.files.film={film}", *dotted)
    outcome = run(settings, until="rank")
    store, artifacts = Store(settings.store), dict(outcome.artifacts)
    assert {ref.stage for ref in artifacts.values()} == {
        *("download", "filter", "twins", "statistics", "split"),
        *("choice_pretrain", "choice_mapping", "rank"),
    }
    films, songs = (
        store.read_frame(outcome.domains[name], "ratings.parquet")["rating"]
        for name in settings.domains
    )
    assert songs.unique().to_list() == [1.0]
    assert films.n_unique() == (1 if case == "both" else 5)
    assert outcome.statistics is not None
    means = store.read_frame(outcome.statistics, "statistics.parquet")["mean_rating"]
    assert means.is_null().to_list() == [case == "both", True]
    holds = "film and song hold" if case == "both" else "song holds"
    assert f"stars: left out, {holds} choices" in [*notes(store, outcome)]
    selected = ranked_model(store, outcome.rankings[0])
    assert selected.validation_rmse is None
    opened = open_recommender(store, recommender_of(store, selected))
    assert opened.stars is None
    even = [f"film{number}" for number in range(0, 10, 2)]
    lines = [f"ann,{item},5" for item in even] + (["ann,film1,1"] if case == "mixed" else [])
    Path("mine.csv").write_text("\n".join(["user_id,item_id,rating", *lines]))
    histories = new_users(Path("mine.csv"), settings.files, opened.scale)
    lists = Recommendations.validate(recommend(opened, histories, 8, explain=True))
    assert {int(item.removeprefix("song")) % 2 for item in lists["item_id"]} == {0}
    assert {*lists["because"].explode()} <= {*even}
    assert lists["prediction"].null_count() == len(lists) == 8
    with pytest.raises(ValueError, match="film-song has no stars"):
        recommend(opened, histories, 8, explain=False, by="stars")
