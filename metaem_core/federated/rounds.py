"""Cohorts and the rounds that they take part in: Algorithm 1, lines 3-12, Algorithm 2, 3-9."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from metaem_core.federated.messages import Download, Upload


class Backend(Protocol):
    """Carries downloads to a cohort's devices and brings back the combined upload."""

    def rows(self, cohort: Tensor) -> Tensor:
        """The item rows, ascending, that the download for this cohort must hold."""
        ...

    def gather(self, download: Download, cohort: Tensor, rows: Tensor) -> Upload:
        """The upload of the cohort; ``rows`` are the item rows that ``download`` holds."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What the devices themselves learnt, for a checkpoint."""
        ...


class Server(Protocol):
    """The half of a stage that the server runs."""

    def download(self, cohort: Tensor, rows: Tensor) -> Download:
        """What the cohort receives; the graph behind it stays on the server."""
        ...

    def apply(self, download: Download, upload: Upload, cohort: Tensor, rows: Tensor) -> None:
        """Finish the chain rule and step the optimisers (Algorithm 1, lines 11-12)."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Every tensor that a step changes, by name."""
        ...


# who takes part (m,), devices a round, an epoch's order -> its cohorts, each ascending
Draw = Callable[[Tensor, int, torch.Generator], tuple[Tensor, ...]]


@dataclass(frozen=True)
class RoundStats:
    """Totals of one round over its cohort."""

    squared_error: float
    n_ratings: int


def cohorts(users: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Every user once, in random cohorts of ``size`` (Algorithm 1, line 3), each ascending."""
    shuffled = users[torch.randperm(len(users), generator=generator)]
    return tuple(cohort.sort().values for cohort in torch.split(shuffled, size))


def whole_cohorts(users: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """:func:`cohorts`, the last of which joins the one before: no sum is over a few."""
    *first, last = cohorts(users, size, generator)
    if first:
        last = torch.cat([first.pop(), last]).sort().values
    return (*first, last)


class Rounds(Protocol):
    """Whatever can train a round at a time."""

    def round(self, cohort: Tensor) -> RoundStats:
        """One round of the devices ``cohort`` (S,), ascending."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Every tensor that a round changes, by name."""
        ...


@dataclass(frozen=True)
class SimulatedRounds:
    """Server and devices in one process."""

    server: Server
    backend: Backend

    def round(self, cohort: Tensor) -> RoundStats:
        """Algorithm 1, lines 5-12: download, local gradients, upload, server step."""
        rows = self.backend.rows(cohort)
        download = self.server.download(cohort, rows)
        upload = self.backend.gather(download, cohort, rows)
        self.server.apply(download, upload, cohort, rows)
        return RoundStats(upload.squared_error, upload.n_ratings)

    def state(self) -> dict[str, Tensor]:
        return {**self.server.state(), **self.backend.state()}
