"""The training loop of all that is trained centrally, by minibatches."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from metaem_core.config.factor import FactorConfig
from metaem_core.config.transfer import TransferConfig
from metaem_core.training.epochs import BestEpoch, Divergence, EpochStats, Errors, restore
from metaem_core.training.seeds import derived_generator


def fit(
    step: Callable[[Tensor], Tensor],
    n: int,
    config: FactorConfig | TransferConfig,
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
    best = BestEpoch(named, config.patience)
    if config.patience:
        best.observe(validate().rmse)
    for epoch in range(1, config.epochs + 1):
        shuffled = torch.randperm(n, generator=derived_generator(config.seed, epoch))
        losses = [step(batch) for batch in torch.split(shuffled, config.batch_size)]
        loss = float(torch.stack(losses).sum()) / n
        if not math.isfinite(loss):
            raise Divergence(f"training diverged in epoch {epoch}; lower the learning rate")
        stats = EpochStats(epoch, loss, *validate(), n)
        yield stats
        if config.patience:
            best.observe(stats.validation_rmse)
            if best.exhausted:
                break
    if config.patience:
        restore(named, best.best)
