"""Epochs of choices: one sum over all devices an epoch, after which the server steps."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from metaem_core.config.choice import ChoiceConfig
from metaem_core.data.choices import Choices
from metaem_core.federated.choice.device import choice_step
from metaem_core.federated.choice.server import ChoiceServer
from metaem_core.federated.rounds import Rounds, RoundStats
from metaem_core.models.choice import enough
from metaem_core.training.epochs import EpochStats, restore

TOGETHER = 16_384  # devices that are simulated at once


class ChoiceRounds(Rounds, Protocol):
    """Rounds of devices that count their choices first."""

    def counted(self, cohort: Tensor) -> Tensor:
        """How many of the devices ``cohort`` (S,) chose each item (n,)."""
        ...


@dataclass(frozen=True)
class SimulatedChoices:
    """Server and devices in one process.

    Many devices are one batch that is sent all of V. A real device asks for the rows it chose.
    """

    server: ChoiceServer
    choices: Choices

    def counted(self, cohort: Tensor) -> Tensor:
        """The popularity of each item among a cohort (n,)."""
        return self.choices.of_users(cohort).popularity()

    def round(self, cohort: Tensor) -> RoundStats:
        """The sums of a cohort."""
        server, loss, n_choices = self.server, 0.0, 0
        download, summed = server.download(), enough(server.popularity)
        for some in torch.split(cohort, TOGETHER):
            upload = choice_step(download, server.leading, summed, self.choices.of_users(some))
            server.collect(upload)
            loss += upload.loss
            n_choices += upload.n_choices
        return RoundStats(loss, n_choices)

    def state(self) -> dict[str, Tensor]:
        """Nothing: no device learns."""
        return {}


class ChoiceTraining:
    """Epochs of one round each; the loss is known before each step and nothing stops it.

    Before the first, all devices count their choices. After the last step every device answers once
    more, for the sums that go with the final V.
    """

    def __init__(
        self, config: ChoiceConfig, server: ChoiceServer, rounds: ChoiceRounds, users: Tensor
    ) -> None:
        """``rounds`` bring the sums of ``users`` (m,), who each have a choice, to the server."""
        self.config, self.server, self.users = config, server, users
        self._rounds = rounds
        self.epoch = torch.tensor(0)
        self._curve = torch.zeros(config.epochs, 2, dtype=torch.float64)  # loss, choices

    @property
    def cohort_size(self) -> int:
        """Devices a round: all."""
        return len(self.users)

    def curve(self) -> list[EpochStats]:
        """The epochs so far; ``loss`` is the users' part of the whole-data loss, a choice."""
        return [self._stats(epoch) for epoch in range(1, int(self.epoch) + 1)]

    def epochs(self, on_round: Callable[[RoundStats], None]) -> Iterator[EpochStats]:
        """Train on from the current epoch."""
        if int(self.epoch) == 0:
            self.server.popularity.copy_(self._rounds.counted(self.users))
        while int(self.epoch) < self.config.epochs:
            self.epoch += 1
            epoch = int(self.epoch)
            done = self._collect()
            on_round(done)
            self._curve[epoch - 1] = self._curve.new_tensor([done.squared_error, done.n_ratings])
            self.server.step()
            if epoch == self.config.epochs:
                self._collect()
            yield self._stats(epoch)

    def _collect(self) -> RoundStats:
        """The sums over all devices, which stay with the server until the next."""
        self.server.begin()
        return self._rounds.round(self.users)

    def _stats(self, epoch: int) -> EpochStats:
        loss, n_choices = self._curve[epoch - 1].tolist()
        return EpochStats(epoch, loss / max(n_choices, 1), math.nan, math.nan, int(n_choices))

    def state(self) -> dict[str, Tensor]:
        """Live tensors by name: save them as they are, or :meth:`load` into them."""
        parts = {**self.server.state(), **self._rounds.state()}
        return {"epoch": self.epoch, "curve": self._curve, **parts}

    def load(self, saved: dict[str, Tensor]) -> None:
        """Continue where a saved state stopped."""
        restore(self.state(), saved)
        self.server.read_vectors()
