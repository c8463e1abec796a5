"""A stage of its own; its module imports little, as all of that is part of its cache key."""

import shutil
from dataclasses import dataclass

import torch

from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.checkpoints import Checkpoint
from tasks.store.stage import stage


@dataclass(frozen=True)
class Tuned:
    epochs: int = 2


@stage("tuned")
def tuned(store: Store, config: Tuned, split: ArtifactRef) -> ArtifactRef:
    """A training that takes no time: checkpoints, then tensors."""
    checkpoint = Checkpoint(store.scratch / "training")
    saved = checkpoint.load()
    done, weights = (saved[0], saved[1]["w"]) if saved else (0, torch.zeros(64))
    for epoch in range(done + 1, config.epochs + 1):
        weights = weights + epoch
        checkpoint.save(epoch, {"w": weights})
    with store.draft() as draft:
        draft.write_tensors("w.safetensors", {"w": weights})
    shutil.rmtree(store.scratch, ignore_errors=True)
    return draft.ref
