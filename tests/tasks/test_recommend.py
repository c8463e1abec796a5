"""From a finished run to recommendations: by id, by file, in bulk and from MLflow's registry."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from shutil import ignore_patterns

import polars as pl
import pytest
import torch
from typer.testing import CliRunner, Result

from data_contracts.recommendations import Recommendations
from flows.cli.main import app
from metaem_core.data.choices import Choices
from tasks.models.choice import read_choice_model
from tasks.models.data import read_domain
from tasks.recommend.artifact import HEADER, open_recommender
from tasks.recommend.histories import HISTORY, Histories, cold_users, known_users
from tasks.recommend.selected_model import SelectedModel, select_model
from tasks.recommend.top_n import likeness, recommend
from tasks.stages.recommender import recommender_of
from tasks.store.artifacts import ArtifactRef, CorruptArtifact, Store
from tests.conftest import FinishedRun
from tests.support.damage import edit


@pytest.fixture(scope="module")
def selected(finished_run: FinishedRun) -> SelectedModel:
    return select_model(finished_run.store)


@pytest.fixture(scope="module")
def packed(finished_run: FinishedRun, selected: SelectedModel) -> ArtifactRef:
    return recommender_of(finished_run.store, selected)


@pytest.fixture(scope="module")
def shared(finished_run: FinishedRun, selected: SelectedModel) -> str:
    """Someone known in both domains."""
    both = (
        finished_run.store.read_frame(selected.parts[side], "users.parquet")
        for side in ("source", "target")
    )
    source, target = both
    return str(source.join(target, on="user_id", how="semi")["user_id"][0])


def command(store: Store, *options: object, code: int = 0, name: str = "recommend") -> Result:
    """``metaem recommend``, which has to end with this code."""
    result = CliRunner().invoke(app, [name, "--store", *map(str, (store.root, *options))])
    assert result.exit_code == code, result.output
    return result


def recommended(store: Store, out: Path, *options: object) -> pl.DataFrame:
    command(store, "--out", out, *options)
    return Recommendations.validate(pl.read_parquet(out))


def history(store: Store, selected: SelectedModel, user: str, folder: Path) -> Path:
    path = folder / "history.csv"
    known_users(store, selected.parts, [user]).ratings.write_csv(path)
    return path


def test_the_selected_model_is_of_the_fewest_cold_users(selected: SelectedModel) -> None:
    assert selected.cell["beta"] == 0.3
    assert 0.5 < selected.validation_rmse < 2


def test_a_recommender_names_no_user(finished_run: FinishedRun, packed: ArtifactRef) -> None:
    users = pl.concat(
        pl.read_parquet(path) for path in finished_run.store.root.glob("filter/*/users.parquet")
    )
    held = b"".join(path.read_bytes() for path in finished_run.store.folder(packed).iterdir())
    assert [user for user in users["user_id"] if user.encode() in held] == []
    stars = open_recommender(finished_run.store, packed).stars
    assert stars is not None
    assert len(stars.source.user_embeddings) == len(stars.target.user_profiles) == 0


def test_a_known_user_gets_no_item_that_they_rated(
    finished_run: FinishedRun, selected: SelectedModel, shared: str, tmp_path: Path
) -> None:
    rated = known_users(finished_run.store, selected.parts, [shared]).seen["item_id"]
    shown = recommended(finished_run.store, tmp_path / "a.parquet", "--user", shared)
    assert shown["rank"].to_list() == [*range(1, 11)]
    assert not shown["item_id"].is_in(rated.implode()).any()
    everything = recommended(
        finished_run.store, tmp_path / "b.parquet", "--user", shared, "--top", "100000"
    )
    items = finished_run.store.read_frame(selected.parts["target_model"], "items.parquet")
    assert everything.height == items.height - rated.n_unique()


def test_the_same_history_of_a_new_user_gets_the_same(
    finished_run: FinishedRun, selected: SelectedModel, shared: str, tmp_path: Path
) -> None:
    store = finished_run.store
    rated = known_users(store, selected.parts, [shared]).seen["item_id"]
    file = history(store, selected, shared, tmp_path)
    new = recommended(store, tmp_path / "a.parquet", "--history", file, "--top", "100000")
    old = recommended(store, tmp_path / "b.parquet", "--user", shared, "--top", "100000")
    unseen = new.filter(~pl.col("item_id").is_in(rated.implode()))
    assert unseen["item_id"].to_list() == old["item_id"].to_list()
    for name in ("score", "prediction"):
        assert unseen[name].to_list() == pytest.approx(old[name].to_list(), abs=1e-4)


def test_lists_are_those_of_the_model_of_choice(
    finished_run: FinishedRun, selected: SelectedModel, shared: str, tmp_path: Path
) -> None:
    """In the order of its scores, from the stage's own artifact; stars do not count."""
    store, parts = finished_run.store, selected.parts
    shown = recommended(store, tmp_path / "a.parquet", "--user", shared)
    source, target = (read_domain(store, parts[side]) for side in ("source", "target"))
    user = torch.from_numpy(source.users(pl.Series([shared])))
    model = read_choice_model(store, parts["choice_mapping"])
    scores = model.scores(Choices.of(source.ratings).of_users(user))[0].numpy()
    unseen = pl.DataFrame({"item_id": target.item_ids, "score": scores}).filter(
        ~pl.col("item_id").is_in(known_users(store, parts, [shared]).seen["item_id"].implode())
    )
    best = unseen.sort("score", descending=True).head(10)
    assert shown["item_id"].to_list() == best["item_id"].to_list()
    assert shown["score"].to_list() == pytest.approx(best["score"].to_list(), abs=1e-4)


def test_by_stars_the_expected_stars_order_the_list(
    finished_run: FinishedRun, packed: ArtifactRef, shared: str, tmp_path: Path
) -> None:
    """The numbers are those beside the list by choice."""
    options = ["--user", shared, "--top", "100000"]
    choice = recommended(finished_run.store, tmp_path / "a.parquet", *options)
    stars = recommended(finished_run.store, tmp_path / "b.parquet", *options, "--by", "stars")
    assert stars["score"].null_count() == stars.height
    assert stars["prediction"].is_sorted(descending=True)
    assert not choice["prediction"].is_sorted(descending=True)
    beside = choice.select("item_id", beside="prediction")
    both = stars.join(beside, on="item_id", validate="1:1")
    assert both.height == stars.height == choice.height
    assert both["prediction"].to_list() == pytest.approx(both["beside"].to_list(), abs=1e-4)


@pytest.mark.parametrize("by", ["choice", "stars"])
def test_a_history_without_ratings_counts_as_choices(
    by: str, finished_run: FinishedRun, selected: SelectedModel, shared: str, tmp_path: Path
) -> None:
    store = finished_run.store
    file = history(store, selected, shared, tmp_path)
    rated = recommended(store, tmp_path / "a.parquet", "--history", file)
    pl.read_csv(file).drop("rating").write_csv(file)
    if by == "stars":
        refused = command(store, "--history", file, "--by", "stars", code=2)
        assert "no ratings: recommend by choice" in refused.stderr
        return
    shown = recommended(store, tmp_path / "b.parquet", "--history", file, "--why")
    assert shown.select("item_id", "score").equals(rated.select("item_id", "score"))
    assert shown["prediction"].null_count() == shown.height
    assert shown["because"].list.len().min() > 0
    result = command(store, "--history", file)
    assert "every line is a choice" in result.stderr
    assert "predicted" not in result.stdout


def test_everyone_without_ratings_in_the_target_is_served(
    finished_run: FinishedRun, selected: SelectedModel, tmp_path: Path
) -> None:
    users = cold_users(finished_run.store, selected.parts)
    shown = recommended(finished_run.store, tmp_path / "all.parquet", "--everyone", "--top", "3")
    assert {*shown["user_id"]} == {*users.ratings["user_id"]}
    assert shown.height == 3 * shown["user_id"].n_unique()
    assert shown["item_id"].n_unique() > 3  # the lists differ


@pytest.mark.parametrize("by", ["choice", "stars"])
def test_reasons_are_among_what_was_rated(
    by: str, finished_run: FinishedRun, selected: SelectedModel, shared: str, tmp_path: Path
) -> None:
    options = ["--history", history(finished_run.store, selected, shared, tmp_path), "--why"]
    file = options[1]
    shown = recommended(finished_run.store, tmp_path / "a.parquet", *options, "--by", by)
    reasons = shown["because"].explode()
    assert shown["because"].list.len().max() == 3
    assert reasons.drop_nulls().is_in(pl.read_csv(file)["item_id"].cast(pl.String).implode()).all()


@pytest.mark.parametrize(
    ("users", "first", "items", "catalogue", "alike"),
    [
        (20, 11, 100, 100, "11 of 20 have the same first item"),
        (20, 10, 100, 100, None),
        (19, 19, 5, 100, None),
        (40, 1, 9, 100, "all lists hold 9 of 100 items"),
        (40, 1, 9, 9, None),  # there are no more
    ],
)
def test_lists_that_hardly_differ_are_noticed(
    users: int, first: int, items: int, catalogue: int, alike: str | None
) -> None:
    """``first`` users have item 0 first; lists of 5 go through so many ``items``."""
    rows = [
        (str(user), rank, str(0 if rank == 1 and user < first else (user + rank) % items))
        for user in range(users)
        for rank in range(1, 6)
    ]
    frame = pl.DataFrame(rows, ["user_id", "rank", "item_id"], orient="row")
    message = likeness(frame, 5, catalogue)
    assert alike in message if message and alike else message == alike


def test_unknown_items_are_counted_and_passed_over(
    finished_run: FinishedRun, selected: SelectedModel, shared: str, tmp_path: Path
) -> None:
    file = history(finished_run.store, selected, shared, tmp_path)
    plain = recommended(finished_run.store, tmp_path / "a.parquet", "--history", file)
    with file.open("a") as more:
        more.write(f"{shared},no such item,5\n")
    result = command(finished_run.store, "--history", file)
    assert "1 of " in result.stderr
    assert plain["item_id"][0] in result.stdout


def test_who_rated_nothing_known_gets_the_average_users_list(
    finished_run: FinishedRun, tmp_path: Path
) -> None:
    """Ids that a terminal's markup would swallow are among them."""
    file = tmp_path / "strange.csv"
    file.write_text("user_id,item_id,rating\n[/x],[red],5\nann,no such,1\n")
    shown = recommended(finished_run.store, tmp_path / "a.parquet", "--history", file, "--why")
    lists = shown.group_by("user_id").agg("item_id")["item_id"].to_list()
    assert len(lists) == 2
    assert lists[0] == lists[1]
    result = command(finished_run.store, "--history", file)
    assert "for [/x]" in result.stdout


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("ann", "i", 9.0)], "from 1 to 5"),
        ([("ann", "i", float("nan"))], "from 1 to 5"),
        ([("ann", None, 3.0)], "lack an id or a rating"),
        ([("ann", "i", 3.0), ("ann", "i", 4.0)], "rate an item again"),
    ],
)
def test_ratings_that_are_none_are_refused(
    finished_run: FinishedRun,
    packed: ArtifactRef,
    rows: list[tuple[str, str | None, float]],
    message: str,
) -> None:
    opened = open_recommender(finished_run.store, packed)
    frame = pl.DataFrame(rows, schema=HISTORY, orient="row")
    nothing = pl.DataFrame(schema=HISTORY)
    with pytest.raises(ValueError, match=message):
        recommend(opened, Histories(frame, nothing), 3, explain=True)
    assert recommend(opened, Histories(nothing, nothing), 3, explain=True).is_empty()


def test_a_lost_report_is_passed_over(finished_run: FinishedRun, tmp_path: Path) -> None:
    store = Store(shutil.copytree(finished_run.store.root, tmp_path / "store"))
    report = finished_run.outcome.report
    assert report is not None
    for other in [ref for ref in store.refs() if ref.stage == "report" and ref != report]:
        shutil.rmtree(store.folder(other))  # what other tests of the shared store reported
    damaged = ArtifactRef("report", "0" * 64, 0)
    shutil.copytree(store.folder(report), store.folder(damaged))
    (store.folder(damaged) / "manifest.json").write_text("{}")
    assert select_model(store).cell["beta"] == 0.3
    shutil.rmtree(store.folder(report))
    with pytest.raises(ValueError, match="no report"):
        select_model(store)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "one of --user, --history and --everyone"),
        (["--user", "nobody"], "'nobody'"),
        (["--history", "none.csv"], "no file 'none.csv'"),
        (["--everyone", "--task", "book-music"], "no report on book-music"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    finished_run: FinishedRun, options: list[str], message: str
) -> None:
    assert message in command(finished_run.store, *options, code=2).stderr


def test_a_bad_line_of_a_history_is_named(finished_run: FinishedRun, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("user_id,item_id,rating\nann,m1,5\nann,m2,eleven\n")
    assert "line 3" in command(finished_run.store, "--history", file, code=2).stderr
    file.write_text("user_id,film,rating\nann,m1,5\n")
    refused = command(finished_run.store, "--history", file, code=2)
    assert "say which column holds the item" in refused.stderr
    command(finished_run.store, "--history", file, "--set", "files.columns.item=film")


def test_a_damaged_or_foreign_recommender_is_refused(
    finished_run: FinishedRun, packed: ArtifactRef, tmp_path: Path
) -> None:
    """As it is read from MLflow, where nothing makes it again."""
    copy = Store(tmp_path / "store")
    shutil.copytree(finished_run.store.folder(packed), copy.folder(packed))
    open_recommender(copy, packed)
    edit(copy.file(packed, "recommender.safetensors"))
    with pytest.raises(CorruptArtifact):
        open_recommender(copy, packed)
    header = json.loads(finished_run.store.file(packed, HEADER).read_text())
    with copy.draft() as draft:
        draft.write_json(HEADER, {**header, "format": 99})
    with pytest.raises(ValueError, match="not of format"):
        open_recommender(copy, draft.ref)


LOADS = """
import sys
class Refuse:
    def find_spec(self, name, *_):
        if name.split(".")[0] in ("prefect", "flows"):
            raise AssertionError(f"a registered model imports {name}")
sys.meta_path.insert(0, Refuse())
import pickle, cloudpickle
for module in (pickle, cloudpickle):
    module.load = module.loads = None
import mlflow, pandas
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
rated = pandas.read_csv(sys.argv[3], dtype={"user_id": str, "item_id": str, "rating": float})
model.predict(rated, params={"top": 7, "why": True}).to_parquet(sys.argv[4])
"""


@pytest.mark.night
def test_the_registered_champion_gives_the_same_numbers(
    finished_run: FinishedRun, selected: SelectedModel, shared: str, tmp_path: Path
) -> None:
    """Loaded by a process that has the model's own code alone, no pickle and no Prefect."""
    store = Store(tmp_path / "store")  # others count what the run's own MLflow holds
    without = ignore_patterns("mlflow*", "tracked")
    shutil.copytree(finished_run.store.root, store.root, ignore=without)
    address = f"sqlite:///{store.root.resolve() / 'mlflow.db'}"
    for state in ("now", "already"):
        result = command(store, name="register")
        assert f"metaem-movie-music version 1 is {state} champion" in result.stdout
        assert f"mlflow.set_tracking_uri('{address}')" in result.stdout
    file = history(store, selected, shared, tmp_path)
    expected = recommended(store, tmp_path / "a.parquet", "--history", file, "--top", "7", "--why")
    name = "models:/metaem-movie-music@champion"
    quiet = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    subprocess.run(
        [sys.executable, "-c", LOADS, address, name, str(file), str(tmp_path / "b.parquet")],
        check=True,
        cwd=tmp_path,
        env={**os.environ, **quiet},
        capture_output=True,
    )
    shown = pl.read_parquet(tmp_path / "b.parquet")
    assert shown["item_id"].to_list() == expected["item_id"].to_list()
    assert shown["prediction"].to_list() == pytest.approx(expected["prediction"].to_list())
    assert shown["because"].to_list() == expected["because"].to_list()
    users = pl.read_parquet(next(store.root.glob("filter/*/users.parquet")))["user_id"]
    kept = [path for path in (store.root / "mlflow").rglob("*") if path.is_file()]
    assert [path for path in kept if path.suffix in (".pkl", ".pickle", ".pt", ".pth")] == []
    held = b"".join(path.read_bytes() for path in kept if path.suffix != ".py")
    assert [user for user in users if f'"{user}"'.encode() in held] == []


def test_a_registry_that_does_not_answer_is_reported(
    finished_run: FinishedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAEM_TRACKING_URI", "http://bob:geheim@127.0.0.1:9")
    result = command(finished_run.store, code=1, name="register")
    assert "not registered with MLflow at http://bob:***@127.0.0.1:9" in result.stderr
    assert "geheim" not in result.output
