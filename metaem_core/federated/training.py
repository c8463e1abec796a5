"""Epochs around the rounds: stopping, checkpoint state and progress, for both stages alike."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from metaem_core.config.mapping import MappingConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.federated.rounds import Draw, Rounds, RoundStats, cohorts
from metaem_core.training.epochs import BestEpoch, Divergence, EpochStats, Errors, restore
from metaem_core.training.seeds import derived_generator


class Training:
    """Rounds and the rule that stops them; everything that a checkpoint must hold."""

    def __init__(
        self,
        rounds: Rounds,
        users: Tensor,
        config: PretrainConfig | MappingConfig,
        live: dict[str, Tensor],
        validate: Callable[[], Errors],
        draw: Draw = cohorts,
    ) -> None:
        self.rounds, self.users, self.config = rounds, users, config
        self.validate, self.draw = validate, draw
        self.best = BestEpoch(live, config.patience)
        self.epoch = torch.tensor(0)
        self._curve = torch.zeros(config.epochs, len(EpochStats._fields), dtype=torch.float64)

    @property
    def cohort_size(self) -> int:
        """Devices a round."""
        return self.config.cohort_size

    def curve(self) -> list[EpochStats]:
        """The epochs so far."""
        rows = self._curve[: int(self.epoch)].tolist()
        return [EpochStats(int(row[0]), row[1], row[2], row[3], int(row[4])) for row in rows]

    def epochs(self, on_round: Callable[[RoundStats], None]) -> Iterator[EpochStats]:
        """Train on from the current epoch until all are done or the stopping rule ends it.

        The start is a candidate for the best epoch too: training that only harms is undone.
        """
        if int(self.epoch) == 0:
            self.best.observe(self.validate().rmse)
        while int(self.epoch) < self.config.epochs and not self.best.exhausted:
            self.epoch += 1
            epoch = int(self.epoch)
            squared_error, n_ratings = 0.0, 0
            order = derived_generator(self.config.seed, epoch)
            for cohort in self.draw(self.users, self.config.cohort_size, order):
                done = self.rounds.round(cohort)
                squared_error += done.squared_error
                n_ratings += done.n_ratings
                on_round(done)
            stats = EpochStats(epoch, squared_error / n_ratings, *self.validate(), n_ratings)
            _require_finite(stats)
            self._curve[epoch - 1] = torch.tensor(stats, dtype=torch.float64)
            self.best.observe(stats.validation_rmse)
            yield stats

    def state(self) -> dict[str, Tensor]:
        """Live tensors by name: save them as they are, or :meth:`load` into them."""
        parts = {**self.rounds.state(), **self.best.state()}
        return {"epoch": self.epoch, "curve": self._curve, **parts}

    def load(self, saved: dict[str, Tensor]) -> None:
        """Continue where a saved state stopped."""
        restore(self.state(), saved)

    @property
    def best_rmse(self) -> float:
        """Validation RMSE of the best epoch."""
        return float(self.best.rmse)

    def best_tensors(self) -> dict[str, Tensor]:
        """The live tensors as they were at the best epoch."""
        return self.best.best


def _require_finite(stats: EpochStats) -> None:
    if not all(map(math.isfinite, stats)):
        raise Divergence(
            f"training diverged in epoch {stats.epoch}: mean squared error {stats.loss}, "
            f"validation RMSE {stats.validation_rmse}; lower the learning rate"
        )
