"""What a method of Table 3 is given and gives: the seam that each of them fills in one file."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from metaem_core.federated.training import EpochStats, Errors, clipped_errors
from metaem_core.fitting import Schedule, fit
from metaem_core.methods.bias_transfer import fit_line, overlap_ratings
from metaem_core.methods.factor_config import FactorConfig
from metaem_core.methods.transfer_config import TransferConfig
from metaem_core.models.factors import FactorModel
from metaem_core.models.mlp import Parameters
from metaem_core.pair import DomainPair, Queries

Carry = Callable[[Tensor], Tensor]  # source users (B,) -> their taste in the target (B, k)
OnEpoch = Callable[[EpochStats], None]


@dataclass(frozen=True)
class Problem:
    """Two pretrained domains, the overlap to learn from and the validation users to stop by."""

    pair: DomainPair
    validation: Queries
    source: FactorModel
    target: FactorModel
    factors: FactorConfig  # how both were trained

    @property
    def overlap(self) -> tuple[Tensor, Tensor]:
        """Source and target indices of the training overlap, (T,) each."""
        return torch.from_numpy(self.pair.train_source), torch.from_numpy(self.pair.train_target)

    def overlap_ratings(self) -> tuple[Tensor, Tensor, Tensor]:
        """The overlap's target ratings: source user, target item and value (R,)."""
        ratings, persons = overlap_ratings(self.pair)
        return (
            torch.from_numpy(persons),
            torch.from_numpy(ratings.items),
            torch.from_numpy(ratings.values),
        )


@dataclass
class ColdModel:
    """Rates users of the source in the target: ``target.rate(embed(users), items)``."""

    problem: Problem
    carry: Carry
    target: FactorModel
    carries_bias: bool = True
    curve: list[EpochStats] = field(default_factory=list)

    def __post_init__(self) -> None:
        fitted = self.target.centred and self.carries_bias
        self._line = _bias_line(self.problem) if fitted else (0.0, 0.0)

    def embed(self, users: Tensor) -> Tensor:
        """Vectors (B, k) of source users, and their carried-over bias where centred."""
        return torch.cat([self.carry(users), self.carry_bias(users)], 1)

    def carry_bias(self, users: Tensor) -> Tensor:
        """Bias transfer: the line through the overlap's ratings; (B, 0) where uncentred."""
        slope, constant = self._line
        return self.problem.source.bias[users] * slope + constant

    def rate(self, users: Tensor, items: Tensor) -> Tensor:
        """Ratings (B,) of source users (B,) for target items (B,)."""
        return self.target.rate(self.embed(users), items)

    def errors(self, config: TransferConfig) -> Errors:
        """On the validation users' target ratings."""
        asked = self.problem.validation
        with torch.no_grad():
            predicted = self.rate(torch.from_numpy(asked.users), torch.from_numpy(asked.items))
        return clipped_errors(predicted, asked.values, config.scale)

    def train(
        self,
        config: TransferConfig,
        parameters: Parameters,
        n: int,
        loss: Callable[[Tensor], Tensor],
        on_epoch: OnEpoch,
    ) -> "ColdModel":
        """Step ``parameters``, read by ``carry``, by losses (B,) of positions in ``range(n)``."""
        for parameter in parameters:
            parameter.requires_grad_()
        adam = torch.optim.Adam(
            parameters, lr=config.learning_rate, weight_decay=config.l2, foreach=True
        )

        def step(batch: Tensor) -> Tensor:
            adam.zero_grad()
            losses = loss(batch)
            torch.autograd.backward(losses.mean())
            adam.step()
            return losses.detach().sum()

        live = {str(i): p.detach() for i, p in enumerate(parameters)}
        schedule = Schedule(config.batch_size, config.epochs, config.patience, config.seed)
        for stats in fit(step, n, schedule, live, lambda: self.errors(config)):
            self.curve.append(stats)
            on_epoch(stats)
        for parameter in parameters:
            parameter.requires_grad_(False)
        return self


Fit = Callable[[Problem, TransferConfig, OnEpoch], ColdModel]  # what a method is


def _bias_line(problem: Problem) -> tuple[float, float]:
    """Slope and constant of the overlap's target residuals in the source bias."""
    users, items, values = problem.overlap_ratings()
    left = values - problem.target.offsets[items]
    return fit_line(problem.source.bias[users, 0].numpy(), left.numpy())


def linear(problem: Problem, seed: int, bias: bool) -> Parameters:
    """A fresh k x k map (and constant): torch's start as published, zero where centred.

    Zero is bias transfer alone, so a map that validates no better is undone.
    """
    k = problem.source.users.shape[1]
    shape: list[tuple[int, ...]] = [(k, k), (k,)] if bias else [(k, k)]
    start = torch.Generator().manual_seed(seed)
    draws = [(2 * torch.rand(s, generator=start) - 1) / k**0.5 for s in shape]
    return tuple(d.zero_() if problem.target.centred else d for d in draws)
