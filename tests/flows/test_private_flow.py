"""Private runs through the whole pipeline: what is scored, put on record and refused."""

from pathlib import Path

import pytest

from data_contracts.training import NoisyReleases
from flows.experiment import run
from flows.settings import read_settings
from metaem_core.config.dp import PrivateConfig
from metaem_core.privacy.dp.gaussian import mu_of
from tasks.models.budget import read_budget
from tasks.stages.dp_transfer import dp_transfer
from tasks.store.artifacts import ArtifactRef
from tasks.tracking.runs import described
from tests.conftest import SMALL, FinishedRun

pytestmark = pytest.mark.night


@pytest.fixture(scope="module")
def private_run(finished_run: FinishedRun) -> FinishedRun:
    """Epsilons 8 and infinity beside what the shared run left in its store."""
    options = {"store": finished_run.store.root, "betas": "0.3", "config": None}
    settings = read_settings(options, [*SMALL, "epsilons=8,inf", "delta=1e-5"])
    return FinishedRun(settings, finished_run.store, run(settings), [])


def private_transfers(done: FinishedRun) -> list[ArtifactRef]:
    artifacts = dict(done.outcome.artifacts)
    names = (f"bias_transfer_dp{epsilon}" for epsilon in ("8", "inf"))
    return [artifacts[f"dp_transfer {name} movie-music beta 0.3 seed 1"] for name in names]


def test_every_epsilon_is_a_row_beside_the_trivial_predictors(private_run: FinishedRun) -> None:
    store, (evaluation,) = private_run.store, private_run.outcome.evaluations
    scores = store.read_frame(evaluation, "scores.parquet").filter(metric="rmse")
    rmse = dict(scores.select("method", "value").iter_rows())
    assert rmse["bias_transfer_dpinf"] < rmse["bias_transfer_dp8"] < rmse["global_mean"] * 1.1
    report = private_run.outcome.report
    assert report is not None
    page = store.file(report, "report.html").read_text()
    assert "Errors: private" in page
    assert "bias transfer, DP ε 8" in page


def test_the_account_is_of_all_releases_of_the_run(private_run: FinishedRun) -> None:
    store, (noisy, silent) = private_run.store, private_transfers(private_run)
    account = read_budget(store, noisy)
    assert account["spent"] == pytest.approx(8, rel=1e-4)
    assert account["spent_by_losses"] == pytest.approx(8, rel=1e-4)
    assert (account["epsilon"], account["delta"]) == (8.0, 1e-5)
    free = read_budget(store, silent)
    assert (free["epsilon"], free["spent"]) == (None, None)
    inputs = store.manifest(noisy).provenance.inputs
    parts = [*inputs["source_model"], *inputs["target_model"], noisy]
    counts = [store.read_frame(ref, "releases.parquet").pipe(NoisyReleases.cast) for ref in parts]
    assert [frame.height for frame in counts] == [3, 3, 1]
    released = sum((frame["clip"] / frame["deviation"]).pow(2).sum() for frame in counts)
    assert released == pytest.approx(mu_of(8.0, 1e-5) ** 2)
    (evaluation,) = private_run.outcome.evaluations
    logged = {p.metric: p.value for p in described(store, evaluation).points}
    assert logged["epsilon/bias_transfer_dp8"] == pytest.approx(8, rel=1e-4)
    assert "epsilon/bias_transfer_dpinf" not in logged


def test_models_that_spent_more_than_the_run_may_are_refused(private_run: FinishedRun) -> None:
    store, (noisy, _) = private_run.store, private_transfers(private_run)
    inputs = store.manifest(noisy).provenance.inputs
    names = ("source_model", "target_model", "source", "target", "split")
    parts = [inputs[name][0] for name in names]
    with pytest.raises(ValueError, match="was allowed 4"):
        dp_transfer.fn(store, PrivateConfig(4.0, 1e-5, seed=1), *parts)


def test_epsilons_of_one_name_are_one_row(tmp_path: Path) -> None:
    settings = read_settings({"store": tmp_path, "config": None}, ["epsilons=8,8.0000001,inf"])
    assert len(settings.epsilons) == 2
