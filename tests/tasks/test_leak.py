"""Cold users' target ratings, followed from the raw file: no training stage may notice them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import polars as pl
import pytest

from flows.profiles import compared
from metaem_core.config.choice import ChoiceConfig, ChoiceMappingConfig
from metaem_core.config.dp import PrivateConfig
from metaem_core.config.factor import FactorConfig
from metaem_core.config.mapping import MappingConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.config.transfer import Method, TransferConfig
from metaem_core.data.splitting import SplitConfig
from metaem_core.evaluation.scores import EvaluateConfig
from metaem_core.synthetic.world import SyntheticConfig
from tasks.models.method_id import MethodId, Profile, metaem_id
from tasks.sources.base import Source
from tasks.sources.files import Files
from tasks.sources.synthetic import Synthetic
from tasks.stages.baseline import BaselineRequest, baseline
from tasks.stages.choice_mapping import ChoiceMappingRequest, choice_mapping
from tasks.stages.choice_pretrain import ChoicePretrainRequest, choice_pretrain
from tasks.stages.download import DownloadRequest, download
from tasks.stages.dp_biases import dp_biases
from tasks.stages.dp_transfer import dp_transfer
from tasks.stages.evaluate import evaluate
from tasks.stages.factorise import factorise
from tasks.stages.filter import FilterConfig, filter_ratings
from tasks.stages.mapping import MappingRequest, mapping
from tasks.stages.pretrain import PretrainRequest, pretrain
from tasks.stages.split import split_users
from tasks.store.artifacts import ArtifactRef, Store

METHODS = get_args(Method)
PROFILES: dict[Profile, tuple[FactorConfig, TransferConfig]] = {
    profile: (
        replace(compared(FactorConfig(), "calibrated", profile, "factors"), epochs=2),
        replace(compared(TransferConfig(), "calibrated", profile, "transfer"), epochs=2),
    )
    for profile in ("calibrated", "paper")
}
PRETRAIN = PretrainConfig(epochs=3, hidden_size=32)
PRIVATE = PrivateConfig(8.0, 1e-6)
MAPPING = MappingConfig(epochs=5, cohort_size=16)
CHOICE = ChoiceConfig(size=8, epochs=2, leading=8, threshold=3)  # one star is no choice


@dataclass(frozen=True)
class Run:
    """What a small run leaves behind."""

    store: Store
    split: ArtifactRef
    target: ArtifactRef
    trained: dict[str, str]  # digests of everything that was learnt
    evaluation: ArtifactRef


def run(store: Store, source: Source) -> Run:
    movie, music = (
        filter_ratings.fn(store, FilterConfig(), download.fn(store, DownloadRequest(d, source)))
        for d in ("movie", "music")
    )
    split = split_users.fn(store, SplitConfig(0.5), movie, music)
    request = PretrainRequest(PRETRAIN)
    models = pretrain.fn(store, request, movie, None), pretrain.fn(store, request, music, split)
    mapped = mapping.fn(
        store, MappingRequest(metaem_id(PRETRAIN), MAPPING), *models, movie, music, split
    )
    learnt = {"source": models[0], "target": models[1], "mapping": mapped}
    chosen = (
        choice_pretrain.fn(store, ChoicePretrainRequest(CHOICE), movie, None),
        choice_pretrain.fn(store, ChoicePretrainRequest(CHOICE), music, split),
    )
    wanted = ChoiceMappingRequest(ChoiceMappingConfig((4, 8)), (CHOICE.threshold,) * 2)
    lists = choice_mapping.fn(store, wanted, *chosen, movie, music, split)
    learnt |= {"source choices": chosen[0], "target choices": chosen[1], "lists": lists}
    noisy = (
        dp_biases.fn(store, PRIVATE, movie, None),
        dp_biases.fn(store, PRIVATE, music, split),
    )
    line = dp_transfer.fn(store, PRIVATE, *noisy, movie, music, split)
    learnt |= {"source private": noisy[0], "target private": noisy[1], "line": line}
    for profile, (factors, how) in PROFILES.items():
        parts = (
            factorise.fn(store, factors, movie, None),
            factorise.fn(store, factors, music, split),
        )
        learnt |= dict(zip((f"source {profile}", f"target {profile}"), parts, strict=True))
        for method in METHODS:
            ours = MethodId(method, "mf", profile)
            trained = BaselineRequest(ours, replace(how, method=method), factors)
            learnt[f"{method}-{profile}"] = baseline.fn(store, trained, *parts, movie, music, split)
    config = EvaluateConfig("movie-music")
    other_methods = [line, *(ref for ref in learnt.values() if ref.stage == "baseline")]
    evaluation = evaluate.fn(store, config, movie, music, split, *models, mapped, other_methods)
    digests = {name: ref.digest for name, ref in learnt.items()}
    return Run(store, split, music, digests, evaluation)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on the planted world."""
    world = Synthetic(SyntheticConfig(growth=0.2))
    return run(Store(tmp_path_factory.mktemp("plain")), world)


def ratings_of(plain: Run) -> pl.DataFrame:
    """The target's ratings with ids and each user's role."""
    users = plain.store.read_frame(plain.target, "users.parquet").with_row_index("user")
    items = plain.store.read_frame(plain.target, "items.parquet").with_row_index("item")
    roles = plain.store.read_frame(plain.split, "split.parquet")
    ratings = plain.store.read_frame(plain.target, "ratings.parquet").join(users, on="user")
    return ratings.join(items, on="item").join(roles, on="user_id", how="left")


def changed(plain: Run, folder: Path, role: str) -> Run:
    """The same run where users of ``role`` gave one star to all target items but their first."""
    raw = next(plain.store.root.glob("download/*/movie*"))
    (folder / "movie.csv.gz").write_bytes(raw.read_bytes())
    later = pl.col("item_id") != pl.col("item_id").first().over("user_id")
    one_star = pl.when((pl.col("role") == role) & later).then(1.0).otherwise(pl.col("rating"))
    music = ratings_of(plain).select("user_id", "item_id", one_star.alias("rating"), "timestamp")
    music.write_csv(folder / "music.csv", include_header=False)
    files = {"movie": str(folder / "movie.csv.gz"), "music": str(folder / "music.csv")}
    header = ("user_id", "item_id", "rating", "timestamp")
    return run(Store(folder / "store"), Files(files, header=header))


def cold_error(run: Run) -> dict[str, float]:
    scores = run.store.read_frame(run.evaluation, "scores.parquet")
    return dict(scores.filter(metric="rmse").select("method", "value").iter_rows())


def test_a_signal_planted_in_cold_ratings_does_not_reach_training(
    plain: Run, tmp_path: Path
) -> None:
    planted = changed(plain, tmp_path, "cold")
    assert planted.split.digest == plain.split.digest
    assert planted.trained == plain.trained
    for method, error in cold_error(planted).items():
        # what published methods predicted was far too low
        assert abs(error - cold_error(plain)[method]) > 0.5, f"{method} should have been hit"


@pytest.mark.parametrize(
    ("role", "kept"), [("validation", ("source", "target", "tgt", "line")), ("train", ("source",))]
)
def test_the_same_signal_in_other_roles_reaches_the_stages_that_may_see_it(
    plain: Run, tmp_path: Path, role: str, kept: tuple[str, ...]
) -> None:
    """Validation users stop mappings and methods, but not the private line, which has no rounds;
    training users also train the target.
    """
    planted = changed(plain, tmp_path, role)
    differ = {name: planted.trained[name] != plain.trained[name] for name in plain.trained}
    assert differ == {name: not name.startswith(kept) for name in plain.trained}


def test_untouched_ratings_give_the_same_artifacts_from_another_file(
    plain: Run, tmp_path: Path
) -> None:
    same = changed(plain, tmp_path, "nobody")
    assert (same.trained, same.evaluation.digest) == (plain.trained, plain.evaluation.digest)
