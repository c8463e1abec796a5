"""kill -9 in the middle of a training costs at most one epoch and changes no bit of the result."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.waiting import ProcessTree

pytestmark = pytest.mark.night

ROOT = Path(__file__).parents[2]
WORK = """
import sys
from pathlib import Path
import torch
from metaem_core.config.mapping import MappingConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.splitting import SplitConfig
from metaem_core.synthetic.world import SyntheticConfig
from tasks.store.artifacts import Store
from tasks.stages.download import DownloadRequest, download
from tasks.stages.filter import FilterConfig, filter_ratings
from tasks.models.method_id import metaem_id
from tasks.stages.mapping import MappingRequest, mapping
from tasks.stages.pretrain import PretrainRequest, pretrain
from tasks.progress import listening
from tasks.sources.synthetic import Synthetic
from tasks.stages.split import split_users

torch.set_num_threads(1)
store, wanted = Store(Path(sys.argv[1])), sys.argv[2]
world = Synthetic(SyntheticConfig(growth=0.2))
movie, music = (
    filter_ratings.fn(store, FilterConfig(), download.fn(store, DownloadRequest(name, world)))
    for name in ("movie", "music")
)
split = split_users.fn(store, SplitConfig(0.2), movie, music)
short = PretrainConfig(epochs=3, hidden_size=32)
request = PretrainRequest(short)
models = [pretrain.fn(store, request, movie, None), pretrain.fn(store, request, music, split)]
with listening(lambda step: print(f"{step.done:.3f}", flush=True)):
    if wanted == "pretrain":
        long = PretrainConfig(epochs=12, patience=12)
        ref = pretrain.fn(store, PretrainRequest(long), movie, None)
    else:
        long = MappingConfig(epochs=30, patience=30, cohort_size=8, learning_rates=(1e-3, 1e-2))
        request = MappingRequest(metaem_id(short), long)
        ref = mapping.fn(store, request, *models, movie, music, split)
print("artifact", ref.digest)
"""


def command(store: Path, stage: str) -> list[str]:
    return [sys.executable, "-c", WORK, str(store), stage]


def finished(store: Path, stage: str) -> list[str]:
    done = subprocess.run(
        command(store, stage), cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.split("\n")[:-1]


def kill_after_epoch(store: Path, stage: str, epoch: int) -> None:
    with ProcessTree(command(store, stage), cwd=ROOT, stdout=subprocess.PIPE, text=True) as work:
        assert work.stdout is not None
        for line in work.stdout:
            if float(line) > epoch + 0.3:
                break
        work.kill()
        assert work.wait() == -signal.SIGKILL


@pytest.mark.parametrize("stage", ["pretrain", "mapping"])
def test_a_killed_training_goes_on_from_its_last_epoch(tmp_path: Path, stage: str) -> None:
    undisturbed = finished(tmp_path / "undisturbed", stage)
    shutil.copytree(tmp_path / "undisturbed", tmp_path / "killed")
    shutil.rmtree(tmp_path / "killed" / stage / undisturbed[-1].split()[1])
    started = time.time()
    kill_after_epoch(tmp_path / "killed", stage, epoch=3)
    checkpoints = list((tmp_path / "killed" / "checkpoints").glob("**/*.safetensors"))
    assert [path.stat().st_mtime > started for path in checkpoints] == [True]
    resumed = finished(tmp_path / "killed", stage)
    assert float(resumed[0]) > 3
    assert resumed[-1] == undisturbed[-1]
    assert not list((tmp_path / "killed" / "checkpoints").glob("**/*.safetensors"))
