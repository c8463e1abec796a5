"""What fails costs what depends on it; the rest is finished, reported and kept."""

import errno
from collections import Counter
from pathlib import Path

import pytest

from flows.experiment import run
from flows.runtime.runs import Failure
from flows.settings import read_settings
from metaem_core.config.mapping import MappingConfig
from metaem_core.config.transfer import TransferConfig
from metaem_core.methods.baselines.emcdr import emcdr
from metaem_core.methods.metaem.mapping import MappingTraining
from metaem_core.methods.transfer_problem import ColdModel, OnEpoch, Problem
from metaem_core.training.epochs import Divergence
from tasks.progress import Finished, Step, listening
from tests.conftest import SMALL

pytestmark = pytest.mark.night


def test_a_rerun_computes_what_failed_and_what_depends_on_it(
    prefect_server: None, tmp_path: Path
) -> None:
    options = {"store": tmp_path / "store", "betas": "0.5", "seeds": "1,2", "config": None}
    assigned = ["methods=emcdr", "compared=calibrated", "factors.epochs=1", "transfer.epochs=1"]
    settings = read_settings(options, [*SMALL, *assigned])

    def diverging(problem: Problem, config: TransferConfig, on_epoch: OnEpoch) -> ColdModel:
        if config.seed == 1:
            raise Divergence("no end\nof numbers")
        return emcdr(problem, config, on_epoch)

    class Failing(MappingTraining):
        def __init__(self, config: MappingConfig, *rest: object) -> None:
            if config.seed == 2:
                raise KeyError("somebody's name")
            super().__init__(config, *rest)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metaem_core.methods.baselines.emcdr.emcdr", diverging)
        patch.setattr("metaem_core.methods.metaem.mapping.MappingTraining", Failing)
        partly = run(settings)
    cell = "movie-music beta 0.5 seed"
    assert partly.missing == (
        f"emcdr, {cell} 1: baseline emcdr {cell} 1: no end",
        f"all methods, {cell} 2: mapping {cell} 2: KeyError",
    )
    assert len(partly.evaluations) == 1
    events: list[Step | Finished] = []
    with listening(events.append):
        whole = run(settings)
    assert whole.missing == ()
    assert len(whole.evaluations) == 2
    ends = [each for each in events if isinstance(each, Finished)]
    computed = Counter(each.label.split()[0] for each in ends if not each.reused)
    assert computed == Counter(baseline=1, mapping=1, evaluate=2, rank=2, visualise=1, report=1)


def test_a_full_disk_is_reported_without_the_path() -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "/home/somebody/x")
    assert str(Failure("mapping", error)) == "mapping: No space left on device"


def test_without_any_evaluation_the_first_failure_is_raised(
    prefect_server: None, tmp_path: Path
) -> None:
    options = {"store": tmp_path / "store", "betas": "0.5", "config": None}
    options["mapping"] = {"learning_rates": (1e30,)}
    with pytest.raises(Divergence, match="lower the learning rate"):
        run(read_settings(options, SMALL))
