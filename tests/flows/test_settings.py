"""Where settings come from, which wins, and how a wrong one is reported."""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from flows.checks import check
from flows.experiment import cold_start
from flows.methods import other_metaems
from flows.profiles import PROFILES, compared
from flows.settings import BadSettings, Settings, read_settings
from flows.steps import ALIASES, STEPS
from metaem_core.config.factor import FactorConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.ratings import RatingScale


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a metaem.toml, and no METAEM_ variable."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("METAEM_")]:
        monkeypatch.delenv(name)


def test_options_win_over_environment_over_file_over_profile_over_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def epochs_and_reading(**options: object) -> tuple[int, bool]:
        settings = read_settings({"profile": "paper", **options}, dotted)
        return settings.pretrain.epochs, settings.pretrain.meta_reads_raw

    dotted: list[str] = []
    assert Settings().pretrain.epochs != 40
    assert epochs_and_reading() == (40, True)
    (tmp_path / "metaem.toml").write_text("[pretrain]\nepochs = 11\nmeta_reads_raw = false\n")
    assert epochs_and_reading() == (11, False)
    monkeypatch.setenv("METAEM_PRETRAIN__EPOCHS", "12")
    assert epochs_and_reading() == (12, False)
    dotted.append("pretrain.epochs=13")
    assert epochs_and_reading() == (13, False)


def test_lists_scales_and_sources_can_be_given_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAEM_SEEDS", "3,1,3")
    settings = read_settings(
        {"betas": "0.2, 0.5", "source": "amazon-2014"},
        ["scale.low=0.5", "scale.step=0.5", "amazon_2014.ratings_only=true", "mirror=/data"],
    )
    assert settings.betas == (0.2, 0.5)
    assert settings.seeds == (3, 1)
    assert settings.scale == RatingScale(0.5, 5.0, 0.5)
    within = ["mapping.learning_rates=1e-3, 1e-2", "amazon_2018.mirrors=http://a/,http://b/"]
    settings_within = read_settings({}, within)
    assert settings_within.mapping.learning_rates == (1e-3, 1e-2)
    assert settings_within.amazon_2018.mirrors == ("http://a/", "http://b/")
    location = settings.chosen_source.location("movie")
    assert str(getattr(location, "path", "")) == "/data/ratings_Movies_and_TV.csv"


@pytest.mark.parametrize("scale", [(1, 5, 0.1), (0.5, 5, 0.5), (0, 1, 1 / 3), (1, 10, 3)])
def test_steps_that_reach_the_top_make_a_scale(scale: tuple[float, float, float]) -> None:
    RatingScale(*scale)


@pytest.mark.parametrize("task", ["movie-music", "book-movie", "book-music"])
@pytest.mark.parametrize("source", ["synthetic", "amazon-2014", "amazon-2018", "amazon-2023"])
def test_the_papers_tasks_exist_in_every_source(task: str, source: str) -> None:
    settings = read_settings({"task": task, "source": source})
    for domain in settings.domains:
        settings.chosen_source.location(domain)


WRONG = {
    "task=movie-movie": "task.*two domains",
    "betas=0.2,1": "betas",
    "betas=": "betas",
    "seeds=-1": "seeds",
    "profile=fast": "profile",
    "source=netflix": "source",
    "k=0": "'k'",
    "pretrain.epochs=many": "pretrain.epochs",
    "pretrain.epochz=3": "unknown setting 'pretrain.epochz'",
    "pretrain.clusters=2000": "clusters must not exceed cohort_size.*2000 of 1024",
    "pretrain.clusters=-1": "clusters is too small",
    "pretrain.discount=1.5": "discount must not exceed 1, got 1.5",
    "pretrain.pseudo_items=-1": "pseudo_items is too small",
    "methods=all,nope": r"\Asetting 'methods.7': .*got 'nope'\Z",
    "bases=mlp": r"\Asetting 'bases.0': .*got 'mlp'\Z",
    "task=movie": r"'task': must name two domains, .* such as movie-music, got 'movie'",
    "colour=red": "unknown setting 'colour'",
    "scale.low=9": "scale",
    "scale.step=0.3": "'scale'.*whole steps from low to high, got .*step=0.3",
    "scale.high=inf": "'scale'.*whole steps",
    "betas.first=1": "betas",
    "epochs": "key=value",
    "config=missing.toml": "missing.toml",
    **{f"epsilons={wrong}": "every epsilon must lie between" for wrong in ("0", "1e6", "nan")},
    "epsilons=one": "epsilons",
    "delta=0": "setting 'delta'",
}


@pytest.mark.parametrize(("assignment", "message"), WRONG.items())
def test_a_wrong_setting_is_named(assignment: str, message: str) -> None:
    with pytest.raises(BadSettings, match=message):
        read_settings({}, [assignment])


@pytest.mark.parametrize(
    "name",
    [
        "METAEM_BETAZ",
        "METAEM_PRETRAIN_EPOCHS",
        "METAEM_PRETRAINING__EPOCHS",
        "METAEM_PRETRAIN__EPOCHZ",
        "METAEM_K__VALUE",
        "metaem_betaz",
    ],
)
def test_an_unknown_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "5")
    with pytest.raises(BadSettings, match=name):
        read_settings({})


def test_variables_reach_every_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("METAEM_DEBUG", "METAEM_REAL_DATA", "METAEM_K"):
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("METAEM_SYNTHETIC__CONFIG__GROWTH", "0.5")
    monkeypatch.setenv("METAEM_FILES__FILES__MOVIE", "movie.csv")
    settings = read_settings({})
    assert settings.k == 7
    assert settings.synthetic.config.growth == 0.5
    assert settings.files.files == {"movie": "movie.csv"}


def test_feedback_is_one_word_or_one_for_each_domain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unrated(*dotted: str) -> tuple[str, ...]:
        return read_settings({}, dotted).without_stars

    assert unrated() == ()
    assert unrated("feedback=choices") == ("movie", "music")
    assert unrated("feedback.music=choices") == ("music",)
    (tmp_path / "metaem.toml").write_text('feedback = "choices"')
    assert unrated("task=music-book") == ("music", "book")
    (tmp_path / "metaem.toml").write_text('[feedback]\nmovie = "choices"')
    assert unrated() == ("movie",)
    monkeypatch.setenv("METAEM_FEEDBACK", "choices")
    assert unrated() == ("movie", "music")
    monkeypatch.delenv("METAEM_FEEDBACK")
    monkeypatch.setenv("METAEM_FEEDBACK__MUSIC", "choices")
    assert "music" in unrated()
    with pytest.raises(BadSettings, match="feedback"):
        read_settings({}, ["feedback=likes"])


def test_a_threshold_is_of_stars_alone() -> None:
    settings = read_settings({}, ["feedback.movie=choices", "choice.threshold=4"])
    assert settings.thresholds == (None, 4.0)
    assert settings.of_task("music-book").thresholds == (4.0, 4.0)


def test_one_setting_of_a_baseline_leaves_its_others() -> None:
    default = read_settings({}).choice_baselines.emcdr_ials
    given = read_settings({}, ["choice_baselines.emcdr_ials.factors.epochs=5"])
    assert default.factors.epochs != 5
    assert given.choice_baselines.emcdr_ials == replace(
        default, factors=replace(default.factors, epochs=5)
    )


NEEDS_STARS = {
    "stage pretrain needs stars": ("pretrain", "feedback=choices"),
    "stage evaluate needs stars .* for music": ("evaluate", "feedback.music=choices"),
    "setting methods needs stars": ("report", "feedback=choices", "methods=emcdr"),
    "setting epsilons needs stars": ("report", "feedback=choices", "epsilons=8"),
    "no synthetic domain 'musik'": ("report", "feedback.musik=choices"),
}


@pytest.mark.parametrize(("message", "command"), NEEDS_STARS.items())
def test_what_needs_stars_is_refused_where_there_are_none(
    tmp_path: Path, message: str, command: tuple[str, ...]
) -> None:
    stage, *dotted = command
    settings = read_settings({"store": tmp_path / "store"}, dotted)
    with pytest.raises(ValueError, match=message):
        check(settings, stage)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("task = ")
    with pytest.raises(BadSettings, match=r"mine\.toml"):
        read_settings({"config": tmp_path / "mine.toml"})


def test_reading_settings_touches_nothing(tmp_path: Path) -> None:
    read_settings({"store": tmp_path / "store", "source": "files"}, ["files.files.a=/nowhere.csv"])
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("assignment", ["pretrain.seed=4", "mapping.scale.high=10"])
def test_what_the_run_decides_cannot_be_set_on_a_stage(assignment: str) -> None:
    with pytest.raises(BadSettings, match="use `seeds` and `scale`"):
        read_settings({}, [assignment])


def test_what_prefect_keeps_of_the_settings_holds_no_password() -> None:
    secret = {
        "mirror": "https://me:swordfish@host/data",
        "shared": "s3://me:swordfish@bucket/there",
        "tracking_uri": "postgresql://me:swordfish@host/db",
    }
    settings = read_settings({**secret, "config": None})
    kept = cold_start.serialize_parameters({"settings": settings})
    assert "swordfish" not in str(kept)
    assert settings.mirror == secret["mirror"]


def test_every_stage_that_the_readme_lists_can_be_run(tmp_path: Path) -> None:
    table = (Path(__file__).parents[2] / "README.md").read_text().partition("| stage |")[2]
    *listed, last = re.findall(r"^\| (\w+) \|", table.partition("\n\n")[0], re.MULTILINE)
    assert listed == [*STEPS]
    assert last == "recommender"  # of the commands that use a model, not a run's
    check(read_settings({"store": tmp_path, "config": None}), *listed, *ALIASES.values())


@pytest.mark.parametrize("profile", ["paper", "calibrated"])
def test_p_values_can_be_against_what_is_scored_alone(tmp_path: Path, profile: str) -> None:
    options = {"store": tmp_path, "config": None, "profile": profile, "methods": "emcdr"}
    check(read_settings(options, ["report.reference=metaem-paper"]))
    with pytest.raises(ValueError, match=r"report\.reference='emcdr-dnn'.*bias_transfer,.*emcdr-"):
        check(read_settings(options, ["report.reference=emcdr-dnn"]))


def test_as_printed_no_method_is_called_calibrated(tmp_path: Path) -> None:
    options = {"store": tmp_path, "config": None}
    with pytest.raises(ValueError, match="profile 'paper'"):
        check(read_settings(options, ["methods=emcdr", "factors.centred=false"]))


def test_rows_of_another_profile_do_not_depend_on_what_was_set_for_the_run() -> None:
    chosen = ["methods=emcdr", "pretrain.payload=rows", "pretrain.clusters=10", "factors.size=32"]
    settings = read_settings({}, chosen)
    printed = PROFILES["paper"]
    ((stage_1, _),) = [pair for pair in other_metaems(settings) if not pair[0].centred]
    assert stage_1 == replace(PretrainConfig(), **printed["pretrain"])
    there = compared(settings.factors, settings.profile, "paper", "factors")
    assert there == replace(FactorConfig(), **printed["factors"])
    assert compared(settings.factors, settings.profile, "calibrated", "factors").size == 32


def test_the_runs_own_profile_can_be_varied() -> None:
    settings = read_settings({"profile": "paper"}, ["methods=emcdr", "factors.size=32"])
    factors = compared(settings.factors, settings.profile, "paper", "factors")
    assert (factors.size, factors.epochs) == (32, PROFILES["paper"]["factors"]["epochs"])
