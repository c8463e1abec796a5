"""The interface of a baseline of Table 3: it receives a Problem and returns a ColdModel."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metaem_core.config.factor import FactorConfig
from metaem_core.config.transfer import TransferConfig
from metaem_core.data.bias import fit_line
from metaem_core.data.pair import DomainPair, Queries
from metaem_core.data.ratings import RatingScale
from metaem_core.models.factors import FactorModel
from metaem_core.models.mlp import Parameters
from metaem_core.training.epochs import EpochStats, Errors, clipped_errors
from metaem_core.training.minibatches import fit
from metaem_core.training.optimizers import NetworkAdam

Transfer = Callable[[Tensor], Tensor]  # source users (B,) -> their target user vectors (B, k)
OnEpoch = Callable[[EpochStats], None]


@dataclass(frozen=True)
class Problem:
    """Two pretrained domains, their training overlap and the validation users for stopping."""

    pair: DomainPair
    validation: Queries
    source: FactorModel
    target: FactorModel
    factors: FactorConfig  # how both were trained

    @property
    def size(self) -> int:
        """k."""
        return self.target.items.shape[1]

    @property
    def overlap(self) -> tuple[Tensor, Tensor]:
        """Source and target indices of the training overlap, (T,) each."""
        return torch.from_numpy(self.pair.train_source), torch.from_numpy(self.pair.train_target)

    def overlap_ratings(self) -> tuple[Tensor, Tensor, Tensor]:
        """The overlap's target ratings: source user, target item and value (R,)."""
        ratings, source_users = self.pair.overlap_ratings()
        return (
            torch.from_numpy(source_users),
            torch.from_numpy(ratings.items),
            torch.from_numpy(ratings.values),
        )


@dataclass
class ColdModel:
    """Rates users of the source in the target: ``target.rate(embed(users), items)``."""

    problem: Problem
    transfer: Transfer
    target: FactorModel
    transfers_bias: bool = True

    def __post_init__(self) -> None:
        self._line = 0.0, 0.0  # slope and constant of target residuals in the source bias
        if self.target.centred and self.transfers_bias:
            known, source_users = self.problem.pair.overlap_ratings()
            residuals = known.values - self.problem.target.offsets.numpy()[known.items]
            self._line = fit_line(self.problem.source.bias.numpy()[source_users, 0], residuals)
        queries = self.problem.validation
        users, owner = torch.unique(torch.from_numpy(queries.users), return_inverse=True)
        self._queries = users, owner, torch.from_numpy(queries.items)

    def embed(self, users: Tensor) -> Tensor:
        """Target vectors of source users (B, k), or (B, k + 1) with their bias where centred."""
        return torch.cat([self.transfer(users), self.transfer_bias(users)], 1)

    def transfer_bias(self, users: Tensor) -> Tensor:
        """Bias transfer: the line through the overlap's ratings; (B, 0) where uncentred."""
        slope, constant = self._line
        return self.problem.source.bias[users] * slope + constant

    def rate(self, users: Tensor, items: Tensor) -> Tensor:
        """Ratings (B,) of source users (B,) for target items (B,)."""
        return self.target.rate(self.embed(users), items)

    def errors(self, scale: RatingScale) -> Errors:
        """On the validation users' target ratings."""
        users, owner, items = self._queries
        with torch.no_grad():
            predicted = self.target.rate(self.embed(users).index_select(0, owner), items)
        return clipped_errors(predicted, self.problem.validation.values, scale)

    def train(
        self,
        config: TransferConfig,
        parameters: Parameters,
        n: int,
        loss: Callable[[Tensor], Tensor],
        on_epoch: OnEpoch,
    ) -> "ColdModel":
        """Adam steps on ``parameters``, which ``transfer`` reads.

        Args:
            loss: positions (B,) in ``range(n)`` -> their losses (B,).
        """
        adam = NetworkAdam(parameters, config.learning_rate, config.l2)
        for parameter in parameters:
            parameter.requires_grad_()

        def step(batch: Tensor) -> Tensor:
            losses = loss(batch)
            adam.step(torch.autograd.grad(losses.mean(), parameters))
            return losses.detach().sum()

        self.follow(step, n, config, (adam.flat,), lambda: None, on_epoch)
        for parameter in parameters:
            parameter.requires_grad_(False)
        return self

    def follow(
        self,
        step: Callable[[Tensor], Tensor],
        n: int,
        config: TransferConfig | FactorConfig,
        live: tuple[Tensor, ...],
        settle: Callable[[], None],
        on_epoch: OnEpoch,
    ) -> None:
        """Repeat ``step`` until the errors of the validation users stop it.

        Args:
            step: trains on positions (B,) in ``range(n)`` and returns their summed loss.
            live: the tensors that training changes, which ``transfer`` or ``target`` reads.
            settle: brings ``live`` up to date before validation.
        """

        def validate() -> Errors:
            settle()
            return self.errors(config.scale)

        for stats in fit(step, n, config, live, validate):
            on_epoch(stats)


Fit = Callable[[Problem, TransferConfig, OnEpoch], ColdModel]  # what a method is


def layer(n_in: int, n_out: int, start: torch.Generator, bias: bool = True) -> Parameters:
    """A weight (n_out, n_in) and a constant (n_out,) as torch.nn.Linear draws them."""
    shapes: list[tuple[int, ...]] = [(n_out, n_in), (n_out,)] if bias else [(n_out, n_in)]
    return tuple((2 * torch.rand(s, generator=start) - 1) / n_in**0.5 for s in shapes)


def last_layer(
    problem: Problem, n_in: int, n_out: int, start: torch.Generator, bias: bool = True
) -> Parameters:
    """A fresh layer, all zero where centred: then training starts at bias transfer."""
    drawn = layer(n_in, n_out, start, bias)
    return tuple(d.zero_() if problem.target.centred else d for d in drawn)
