"""MetaEM (Zheng et al.): federated pretraining with private item embeddings, then a mapping."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from metaem_core.bias import damped_biases
from metaem_core.federated.optimizers import DenseAdam, LazyAdam, NetworkAdam, TableAdam
from metaem_core.federated.server import MappingServer, PretrainServer
from metaem_core.federated.simulation import CohortSimulation, DistanceTarget
from metaem_core.federated.towers import PersonalTowers
from metaem_core.federated.training import Errors, Schedule, Training
from metaem_core.metrics import mae, rmse
from metaem_core.models.domain import DomainModel, network
from metaem_core.models.mlp import Parameters, init_mlp, mlp
from metaem_core.pair import DomainPair, Predict, Queries
from metaem_core.ratings import Floats, Ints, Ratings, RatingScale


@dataclass(frozen=True)
class PretrainConfig:
    """Stage 1, one domain (Algorithm 1)."""

    common_size: int = 32  # k_c, also k_u
    private_size: int = 8  # k_p
    hidden_size: int = 128
    cohort_size: int = 256  # |S|
    learning_rate: float = 3e-3
    l2: float = 1e-4  # lambda of Eq. 10
    init_std: float = 0.1  # of U and V^c
    epochs: int = 40
    patience: int = 3
    holdout: float = 0.05  # share of ratings kept out of training to stop by
    centred: bool = True  # rate relative to mean + item bias
    relu_last: bool = False  # Eqs. 4-6 as printed: True
    meta_reads_raw: bool = False  # Eq. 3 as printed: True
    adam: Literal["lazy", "dense"] = "lazy"
    item_tower: Literal["shared", "personal"] = "shared"
    scale: RatingScale = field(default_factory=RatingScale)
    seed: int = 0


@dataclass(frozen=True)
class MappingConfig:
    """Stage 2 (Algorithm 2)."""

    hidden_size: int = 128
    cohort_size: int = 256
    learning_rate: float = 1e-3
    l2: float = 1e-4
    epochs: int = 100
    patience: int = 10
    loss: Literal["task", "distance"] = "task"  # Eq. 14, or Eq. 12 with the target's MLP_user
    scale: RatingScale = field(default_factory=RatingScale)
    seed: int = 0


class Pretraining:
    """Stage 1 for one domain; ``training`` does the work, :meth:`model` is the result."""

    def __init__(
        self,
        config: PretrainConfig,
        ratings: Ratings,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config, self.dtype = config, dtype
        kept, held = hold_out(ratings, config.holdout, config.seed)
        self._held = held
        self._model = _fresh_domain(config, kept, dtype)
        self._towers: PersonalTowers | None = None
        live = {
            "user_embeddings": self._model.user_embeddings,
            "common_items": self._model.common_items,
            **self._model.tensors(),
        }
        simulation = CohortSimulation(kept, dtype)
        users = torch.from_numpy(np.unique(kept.users))
        schedule = Schedule(config.cohort_size, config.epochs, config.patience, config.seed)
        if config.item_tower == "personal":
            self._towers = PersonalTowers(
                simulation, self._model.item_tower, kept.n_users, config.learning_rate, config.l2
            )
        self.training = Training(
            self._server(), self._towers or simulation, users, schedule, live, self._validate
        )

    def model(self) -> DomainModel:
        """The domain at its best epoch."""
        best = self.training.best_tensors()
        return DomainModel(
            best["user_embeddings"],
            best["common_items"],
            self._model.item_offsets,
            network(best, "meta_network"),
            network(best, "user_tower"),
            network(best, "item_tower"),
            self._model.relu_last,
            self._model.meta_reads_raw,
        )

    def _server(self) -> PretrainServer:
        model, config = self._model, self.config
        nets = (*model.meta_network, *model.user_tower, *model.item_tower)
        return PretrainServer(
            model,
            _table_optimizer(model.user_embeddings, config),
            _table_optimizer(model.common_items, config),
            NetworkAdam(nets, config.learning_rate, config.l2),
        )

    def _validate(self) -> Errors:
        model, held = self._model, self._held
        if self._towers is not None:
            for live, average in zip(model.item_tower, self._towers.average(), strict=True):
                live.copy_(average)
        users, owner = np.unique(held.users, return_inverse=True)
        with torch.no_grad():
            rows = torch.from_numpy(users)
            predicted = model.rate_own(rows, torch.from_numpy(owner), torch.from_numpy(held.items))
        return _errors(predicted, held.values, self.config.scale)


class Mapping:
    """Stage 2; ``training`` does the work, :meth:`mapping` is the result."""

    def __init__(
        self,
        config: MappingConfig,
        source_vectors: Tensor,  # MLP_user^s(u^s) of every source user (m_s, k_u)
        target: DomainModel,
        pair: DomainPair,
        validation: Queries,
    ) -> None:
        size, dtype = source_vectors.shape[1], source_vectors.dtype
        start = torch.Generator().manual_seed(config.seed)
        hidden = config.hidden_size
        self._mapping = init_mlp((size, hidden, hidden, size), start, dtype)
        self._source_vectors, self._target = source_vectors, target
        self._validation, self._scale = validation, config.scale
        nets = NetworkAdam(self._mapping, config.learning_rate, config.l2)
        by_task = config.loss == "task"
        trainees = torch.from_numpy(pair.train_target)
        sources = torch.zeros(pair.target.n_users, size, dtype=dtype)
        sources[trainees] = source_vectors[torch.from_numpy(pair.train_source)]
        server = MappingServer(self._mapping, target, sources, nets, by_task)
        with torch.no_grad():
            backend = (
                CohortSimulation(pair.target, dtype)
                if by_task
                else DistanceTarget(target.embed_users(torch.arange(pair.target.n_users)))
            )
        schedule = Schedule(config.cohort_size, config.epochs, config.patience, config.seed)
        live = {str(i): p for i, p in enumerate(self._mapping)}
        self.training = Training(server, backend, trainees, schedule, live, self._validate)

    def mapping(self) -> Parameters:
        """f_theta at its best epoch."""
        best = self.training.best_tensors()
        return tuple(best[str(i)] for i in range(len(self._mapping)))

    def map_users(self, users: Tensor) -> Tensor:
        """Vectors u_hat^t (B, k_u) of source users (B,) at the best epoch."""
        with torch.no_grad():
            return map_users(self.mapping(), self._source_vectors[users])

    def _validate(self) -> Errors:
        queries = self._validation
        predict = cold_predictor(
            lambda users: map_users(self._mapping, self._source_vectors[users]), self._target
        )
        return _errors(
            torch.from_numpy(predict(queries.users, queries.items)), queries.values, self._scale
        )


def map_users(mapping: Parameters, source_vectors: Tensor) -> Tensor:
    """Eq. 11: ``u_hat^t = f_theta(MLP_user^s(u^s))`` for source vectors (B, k_u)."""
    return mlp(mapping, source_vectors, relu_last=False)


def cold_predictor(embed: Callable[[Tensor], Tensor], target: DomainModel) -> Predict:
    """Section 3.5: rates for users without a target row.

    Args:
        embed: source indices (B,) -> mapped vectors u_hat^t (B, k_u).
        target: the pretrained target domain.
    """

    def predict(users: Ints, items: Ints) -> Floats:
        order = np.argsort(users, kind="stable")
        distinct, owner = np.unique(users[order], return_inverse=True)
        with torch.no_grad():
            vectors = embed(torch.from_numpy(distinct))
            rated = target.rate(vectors, torch.from_numpy(owner), torch.from_numpy(items[order]))
        ratings = np.empty(len(users), np.float32)
        ratings[order] = rated.numpy()
        return ratings

    return predict


def hold_out(ratings: Ratings, share: float, seed: int) -> tuple[Ratings, Ratings]:
    """Ratings to train on and ratings to stop by, drawn one by one."""
    draw = np.random.default_rng(np.random.SeedSequence([seed, 0])).random(len(ratings))
    held = draw < share
    return ratings.where(~held), ratings.where(held)


def _fresh_domain(config: PretrainConfig, ratings: Ratings, dtype: torch.dtype) -> DomainModel:
    """Algorithm 1, line 1."""
    start = torch.Generator().manual_seed(config.seed)
    k, hidden = config.common_size, config.hidden_size

    def table(rows: int) -> Tensor:
        return torch.randn(rows, k, generator=start, dtype=dtype) * config.init_std

    def three_layers(first: int, last: int) -> Parameters:
        return init_mlp((first, hidden, hidden, last), start, dtype)

    return DomainModel(
        user_embeddings=table(ratings.n_users),
        common_items=table(ratings.n_items),
        item_offsets=_offsets(config, ratings, dtype),
        meta_network=three_layers(k, k * config.private_size),
        user_tower=three_layers(k, k),
        item_tower=three_layers(config.private_size, k),
        relu_last=config.relu_last,
        meta_reads_raw=config.meta_reads_raw,
    )


def _offsets(config: PretrainConfig, ratings: Ratings, dtype: torch.dtype) -> Tensor:
    if not config.centred:
        return torch.zeros(ratings.n_items, dtype=dtype)
    biases = damped_biases(ratings)
    return torch.from_numpy(biases.mean + biases.item).to(dtype)


def _table_optimizer(table: Tensor, config: PretrainConfig) -> TableAdam:
    if config.adam == "dense":
        return DenseAdam(table, config.learning_rate, config.l2)
    return LazyAdam(table, config.learning_rate, config.l2)


def _errors(predicted: Tensor, values: Floats, scale: RatingScale) -> Errors:
    if not bool(predicted.isfinite().all()):
        return Errors(math.nan, math.nan)
    clipped = predicted.clamp(scale.low, scale.high).numpy()
    return Errors(mae(clipped, values), rmse(clipped, values))
