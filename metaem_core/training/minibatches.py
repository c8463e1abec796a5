"""The training loop of all that is trained centrally, by minibatches."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from metaem_core.training.epochs import Divergence, EpochStats, Errors
from metaem_core.training.optimizers import restore
from metaem_core.training.seeds import epoch_seed
from metaem_core.training.stopping import BestEpoch

NOTHING_HELD_OUT = Errors(math.nan, math.nan)


@dataclass(frozen=True)
class Schedule:
    """Batches, epochs and when to stop."""

    batch_size: int
    epochs: int
    patience: int  # epochs without a better validation RMSE before stopping; 0: all epochs
    seed: int


def fit(
    step: Callable[[Tensor], Tensor],
    n: int,
    schedule: Schedule,
    live: tuple[Tensor, ...],
    validate: Callable[[], Errors],
) -> Iterator[EpochStats]:
    """Step through shuffled batches of ``range(n)``; at the end ``live`` is the best epoch's.

    Args:
        step: trains on positions (B,) and returns their summed loss.
        live: the tensors that training changes.
        validate: the errors of what ``live`` is now.
    """
    named = {str(i): tensor for i, tensor in enumerate(live)}
    best = BestEpoch(named, schedule.patience)
    if schedule.patience:
        best.observe(validate().rmse)
    for epoch in range(1, schedule.epochs + 1):
        order = torch.Generator().manual_seed(epoch_seed(schedule.seed, epoch))
        shuffled = torch.randperm(n, generator=order)
        losses = [step(batch) for batch in torch.split(shuffled, schedule.batch_size)]
        loss = float(torch.stack(losses).sum()) / n
        if not math.isfinite(loss):
            raise Divergence(f"training diverged in epoch {epoch}; lower the learning rate")
        stats = EpochStats(epoch, loss, *validate(), n)
        yield stats
        if schedule.patience:
            best.observe(stats.validation_rmse)
            if best.exhausted:
                break
    if schedule.patience:
        restore(named, best.best)
