"""A report on a small run with other methods in both profiles, as file and in a browser."""

import re
import shutil
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from flows.cli.report import newest_report
from flows.experiment import run
from flows.methods import scored
from flows.settings import read_settings
from tasks.stages.report import ReportRequest, report
from tasks.store.artifacts import ArtifactRef, Store
from tests.conftest import SMALL
from tests.support import browser

pytestmark = pytest.mark.night

METHODS = ("methods=emcdr,ptupcdr", "bases=mf,gmf,dnn", "factors.epochs=2", "transfer.epochs=2")


@pytest.fixture(scope="module")
def reported(
    prefect_server: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Store, ArtifactRef]:
    folder = tmp_path_factory.mktemp("compared") / "store"
    options = {"store": folder, "betas": "0.2", "config": None}
    ref = run(read_settings(options, [*SMALL, *METHODS])).report
    assert ref is not None
    return Store(folder), ref


@pytest.fixture(scope="module")
def page(reported: tuple[Store, ArtifactRef]) -> str:
    store, ref = reported
    return store.file(ref, "report.html").read_text()


def section(page: str, name: str) -> str:
    match = re.search(rf'<section id="{name}">(.*?)</section>', page, re.DOTALL)
    assert match, f"no section {name}"
    return match[1]


def test_profiles_are_never_mixed(page: str) -> None:
    paper, calibrated = section(page, "errors-paper"), section(page, "errors-calibrated")
    assert "profile calibrated" not in paper
    assert "profile paper" not in calibrated
    assert ">MetaEM (MF)</th>" in calibrated
    assert ">MetaEM (GMF)</th>" in calibrated
    for part in (paper, calibrated):
        for label in ("EMCDR", "PTUPCDR (DNN)", "MetaEM", "global mean", "fitted bias transfer"):
            assert f">{label}</th>" in part
        assert "paper 1.2364" in part  # EMCDR, task 1, 20 %
        assert "of other data" in part


def test_pictures_are_files_and_every_score_of_the_summary_is_on_the_page(
    reported: tuple[Store, ArtifactRef], page: str
) -> None:
    store, ref = reported
    names = {name for name in store.manifest(ref).files if name.endswith(".png")}
    assert names == {f"{n}.png" for n in ("scores", "curves", "groups", "vectors", "bases")}
    summary = store.read_frame(ref, "summary.parquet")
    shown = summary.filter(pl.col("metric").is_in(["mae", "rmse"]))
    calibrated = shown.filter(~pl.col("method").str.ends_with("-paper"))
    plain = calibrated.filter(~pl.col("method").str.contains("-gmf|-dnn"))
    assert plain.height == 20
    lists = store.read_frame(ref, "list_summary.parquet").filter(
        pl.col("method").is_in(["metaem_choice", "popularity", "metaem", "emcdr"])
    )
    assert {*lists["relevant"]} == {"", "chosen", "liked"}
    assert [v for v in (*plain["mean"], *lists["mean"]) if f"{v:.4f}" not in page] == []


def test_every_method_was_made_in_its_own_profile(reported: tuple[Store, ArtifactRef]) -> None:
    store, ref = reported
    (evaluation,) = store.manifest(ref).provenance.inputs["evaluations"]
    others = store.manifest(evaluation).provenance.inputs["other_methods"]
    origins = [store.manifest(ref).provenance for ref in others if ref.stage == "baseline"]
    assert len(origins) == 12  # two methods, three base models, both profiles
    for each in origins:
        (target,) = each.inputs["target_model"]
        trained = store.manifest(target).provenance.config
        settings = {**trained, **each.config["config"]}  # type: ignore[dict-item]
        as_published = (trained["size"], trained["centred"], settings["patience"]) == (10, False, 0)
        assert each.config["factors"] == {**trained, "seed": 0}
        assert as_published == (each.config["method"]["profile"] == "paper")  # type: ignore[index, call-overload]


def test_what_will_be_scored_is_known_beforehand(reported: tuple[Store, ArtifactRef]) -> None:
    store, ref = reported
    settings = read_settings({"config": None}, [*SMALL, *METHODS])
    assert {*store.read_frame(ref, "summary.parquet")["method"]} == {
        each.name for each in scored(settings)
    }


def test_nobody_is_named_and_nothing_is_loaded(
    reported: tuple[Store, ArtifactRef], page: str
) -> None:
    store, _ = reported
    users = pl.concat(pl.read_parquet(path) for path in store.root.glob("filter/*/users.parquet"))
    assert [user for user in users["user_id"] if user in page] == []
    assert re.findall(r'(?:src|href)="(?!data:|#)', page) == []
    assert str(store.root) not in page
    assert "<script" not in page


def test_the_same_results_make_the_same_page(reported: tuple[Store, ArtifactRef]) -> None:
    store, ref = reported
    inputs = store.manifest(ref).provenance.inputs
    again = report.fn(
        store,
        ReportRequest("bias_transfer"),
        *([*inputs[name]] for name in ("evaluations", "rankings", "statistics", "pictures")),
    )
    assert again == ref


def test_vectors_are_drawn_for_both_methods_in_both_profiles(
    reported: tuple[Store, ArtifactRef],
) -> None:
    store, ref = reported
    (picture,) = store.manifest(ref).provenance.inputs["pictures"]
    points = store.read_frame(picture, "tsne.parquet")
    assert {*points["method"]} == {"metaem", "metaem-paper", "ptupcdr", "ptupcdr-paper"}
    assert points.columns == ["method", "users", "kind", "x", "y"]  # and nobody's name
    closeness = store.read_frame(picture, "closeness.parquet")
    assert closeness.height == 8
    assert (closeness["others"] > 0).all()


@pytest.fixture(scope="module")
def chromium() -> str:
    path = browser.find()
    if path is None:
        pytest.skip("no chromium here: apt-get install chromium")
    return path


@pytest.mark.parametrize("width", [1200, 390], ids=["desk", "phone"])
def test_a_browser_shows_all_of_it(chromium: str, page: str, width: int) -> None:
    seen = browser.look(chromium, page, width)
    assert seen.console == []
    assert len(seen.images) == page.count("<img ") > 15
    assert min(seen.images) > 0
    assert seen.unnamed == 0
    assert len(seen.tables) > 10
    assert min(seen.tables) > 1
    assert all(seen.links)
    assert seen.overflow <= 0


def test_the_markdown_says_the_same(reported: tuple[Store, ArtifactRef], page: str) -> None:
    store, ref = reported
    text = store.file(ref, "report.md").read_text()
    sentences = re.findall(r"^- \*\*(.*?):\*\* (.*)$", text, re.MULTILINE)
    assert len(sentences) > 4
    for about, text in sentences:
        assert f"<b>{about}</b>: {text}".replace("'", "&#39;") in page


def test_the_newest_page_is_printed_and_copied(
    reported: tuple[Store, ArtifactRef], page: str, tmp_path: Path
) -> None:
    store, ref = reported
    result = CliRunner().invoke(app, ["report", "--store", str(store.root)])
    assert result.exit_code == 0, result.output
    assert result.output.strip() == str(store.file(ref, "report.html").resolve())
    copy = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["report", "--store", str(store.root), "--out", str(copy)])
    assert result.output.strip() == str(copy)
    assert copy.read_text() == page


def test_a_page_that_older_code_made_is_made_again(
    reported: tuple[Store, ArtifactRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, ref = reported
    monkeypatch.setattr("tasks.store.source_digest.code_digest", lambda module: "newer")
    shutil.rmtree(store.root / "results")
    before = (store.folder(ref) / "manifest.json").stat().st_mtime_ns
    assert newest_report(store) == ref  # the same results make the same page
    assert (store.folder(ref) / "manifest.json").stat().st_mtime_ns > before


def test_without_a_report_it_is_said_how_to_make_one(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", "--store", str(tmp_path)])
    assert result.exit_code == 2
    assert "`metaem run` makes one" in result.output
