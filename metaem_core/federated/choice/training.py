"""Epochs of rounds of choices: every device answers once an epoch, then the server steps."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from metaem_core.config.choice import ChoiceConfig
from metaem_core.data.choices import Choices
from metaem_core.federated.choice.device import choice_step
from metaem_core.federated.choice.server import ChoiceServer
from metaem_core.federated.rounds import RoundStats, cohorts
from metaem_core.training.epochs import Divergence, EpochStats, restore
from metaem_core.training.seeds import derived_generator

TOGETHER = 16_384  # devices that are simulated at once: sums over cohorts add up in any case


class ChoiceTraining:
    """Server and devices in one process; the loss is known before each step and nothing stops it.

    Many devices are one batch that is sent all of V. A real device asks for the rows it chose.
    """

    def __init__(self, config: ChoiceConfig, server: ChoiceServer, choices: Choices) -> None:
        self.config, self.server, self._choices = config, server, choices
        self.users = choices.counts.nonzero().flatten()
        self.epoch = torch.tensor(0)
        self._curve = torch.zeros(config.epochs, dtype=torch.float64)

    def curve(self) -> list[EpochStats]:
        """The epochs so far; ``loss`` is the users' part of the whole-data loss, a choice."""
        return [self._stats(epoch) for epoch in range(1, int(self.epoch) + 1)]

    def epochs(self, on_round: Callable[[RoundStats], None]) -> Iterator[EpochStats]:
        """Train on from the current epoch."""
        while int(self.epoch) < self.config.epochs:
            self.epoch += 1
            epoch = int(self.epoch)
            self._curve[epoch - 1] = self.collect(on_round) / len(self._choices)
            self.server.step()
            stats = self._stats(epoch)
            if not math.isfinite(stats.loss):
                raise Divergence(f"training diverged in epoch {epoch}: raise the l2 of choices")
            yield stats

    def collect(self, on_round: Callable[[RoundStats], None] = lambda _: None) -> float:
        """One pass over all devices, whose sums stay with the server; returns their loss."""
        self.server.begin()
        order = derived_generator(self.config.seed, int(self.epoch))
        loss = 0.0
        size = max(self.config.cohort_size, TOGETHER)
        for cohort in cohorts(self.users, size, order):
            upload = choice_step(self.server.download(), self._choices.of_users(cohort))
            self.server.collect(upload)
            loss += upload.loss
            on_round(RoundStats(upload.loss, upload.n_choices))
        return loss

    def _stats(self, epoch: int) -> EpochStats:
        loss = float(self._curve[epoch - 1])
        return EpochStats(epoch, loss, math.nan, math.nan, len(self._choices))

    def state(self) -> dict[str, Tensor]:
        """Live tensors by name: save them as they are, or :meth:`load` into them."""
        return {"epoch": self.epoch, "curve": self._curve, **self.server.state()}

    def load(self, saved: dict[str, Tensor]) -> None:
        """Continue where a saved state stopped."""
        restore(self.state(), saved)
        self.server.restart()
