"""Epochs of rounds of choices: every device answers once an epoch, then the server steps."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from metaem_core.config.choice import ChoiceConfig
from metaem_core.data.choices import Choices
from metaem_core.federated.choice.device import choice_step
from metaem_core.federated.choice.server import ChoiceServer
from metaem_core.federated.rounds import Draw, Rounds, RoundStats, cohorts
from metaem_core.training.epochs import EpochStats, restore
from metaem_core.training.seeds import derived_generator

TOGETHER = 16_384  # devices that are simulated at once: sums over cohorts add up in any case


@dataclass(frozen=True)
class SimulatedChoices:
    """Server and devices in one process.

    Many devices are one batch that is sent all of V. A real device asks for the rows it chose.
    """

    server: ChoiceServer
    choices: Choices

    def round(self, cohort: Tensor) -> RoundStats:
        """The sums of a cohort."""
        upload = choice_step(
            self.server.download(), self.server.leading, self.choices.of_users(cohort)
        )
        self.server.collect(upload)
        return RoundStats(upload.loss, upload.n_choices)

    def state(self) -> dict[str, Tensor]:
        """Nothing: no device learns."""
        return {}


def large_cohorts(users: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """:func:`cohorts` of as many as are simulated at once."""
    return cohorts(users, max(size, TOGETHER), generator)


class ChoiceTraining:
    """Epochs of rounds; the loss is known before each step and nothing stops it.

    After the last step every device answers once more, for the sums that go with the final V.
    """

    def __init__(
        self,
        config: ChoiceConfig,
        server: ChoiceServer,
        rounds: Rounds,
        users: Tensor,
        draw: Draw = large_cohorts,
    ) -> None:
        """``rounds`` bring the sums of ``users`` (m,), who each have a choice, to the server."""
        self.config, self.server, self.users = config, server, users
        self._rounds, self._draw = rounds, draw
        self.epoch = torch.tensor(0)
        self._curve = torch.zeros(config.epochs, 2, dtype=torch.float64)  # loss, choices

    def curve(self) -> list[EpochStats]:
        """The epochs so far; ``loss`` is the users' part of the whole-data loss, a choice."""
        return [self._stats(epoch) for epoch in range(1, int(self.epoch) + 1)]

    def epochs(self, on_round: Callable[[RoundStats], None]) -> Iterator[EpochStats]:
        """Train on from the current epoch."""
        while int(self.epoch) < self.config.epochs:
            self.epoch += 1
            epoch = int(self.epoch)
            self._curve[epoch - 1] = torch.tensor(self._collect(on_round), dtype=torch.float64)
            self.server.step()
            if epoch == self.config.epochs:
                self._collect(lambda _: None)
            yield self._stats(epoch)

    def _collect(self, on_round: Callable[[RoundStats], None]) -> tuple[float, int]:
        """One pass over all devices, whose sums stay with the server; their loss and choices."""
        self.server.begin()
        order = derived_generator(self.config.seed, int(self.epoch))
        loss, n_choices = 0.0, 0
        for cohort in self._draw(self.users, self.config.cohort_size, order):
            done = self._rounds.round(cohort)
            loss += done.squared_error
            n_choices += done.n_ratings
            on_round(done)
        return loss, n_choices

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
