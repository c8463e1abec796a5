"""MetaEM (Zheng et al.), stage 2: the mapping between domains (Algorithm 2), and what it is for."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from metaem_core.federated.optimizers import NetworkAdam
from metaem_core.federated.server import MappingServer
from metaem_core.federated.simulation import CohortSimulation, DistanceTarget
from metaem_core.federated.training import Errors, Schedule, Training, clipped_errors
from metaem_core.methods.metaem_config import MappingConfig
from metaem_core.methods.starts import bias_line, identity
from metaem_core.models.domain import DomainModel
from metaem_core.models.mapping import map_users
from metaem_core.models.mlp import Parameters, init_mlp
from metaem_core.pair import DomainPair, Predict, Queries
from metaem_core.ratings import Floats, Ints


class Mapping:
    """Stage 2; ``training`` does the work, :meth:`mapping` is the result."""

    def __init__(
        self,
        config: MappingConfig,
        learning_rate: float,
        source_vectors: Tensor,  # DomainModel.profiles of every source user (m_s, k_s)
        target: DomainModel,
        pair: DomainPair,
        validation: Queries,
    ) -> None:
        size, dtype = source_vectors.shape[1], source_vectors.dtype
        start = torch.Generator().manual_seed(config.seed)
        hidden = config.hidden_size
        size_out = target.embed_users(torch.zeros(1, dtype=torch.long)).shape[1]
        network = init_mlp((size, hidden, hidden, size_out), start, dtype)
        self._trust = 1.0
        self._start = identity(size, size_out, dtype)
        if target.user_traits.shape[1] > 0:
            self._start, self._trust = bias_line(source_vectors, target, pair), config.trust
            network[-2].zero_()
        self._mapping = (*self._start, *network)
        self._source_vectors, self.target = source_vectors, target
        self._validation, self._scale = validation, config.scale
        nets = NetworkAdam(network, learning_rate, config.l2)
        by_task = config.loss == "task"
        trainees = torch.from_numpy(pair.train_target)
        sources = torch.zeros(pair.target.n_users, size, dtype=dtype)
        sources[trainees] = source_vectors[torch.from_numpy(pair.train_source)]
        server = MappingServer(self._start, network, target, sources, nets, by_task)
        with torch.no_grad():
            backend = (
                CohortSimulation(pair.target, dtype)
                if by_task
                else DistanceTarget(target.embed_users(torch.arange(pair.target.n_users)))
            )
        schedule = Schedule(config.cohort_size, config.epochs, config.patience, config.seed)
        live = {str(i): p for i, p in enumerate(network)}
        self.training = Training(server, backend, trainees, schedule, live, self._validate)

    def mapping(self) -> Parameters:
        """f_theta at its best epoch, its correction of the start scaled by ``trust``."""
        best = self.training.best_tensors()
        *fixed, gain = self._start
        return (*fixed, gain * self._trust, *(best[str(i)] for i in range(len(best))))

    def map_users(self, users: Tensor) -> Tensor:
        """Vectors u_hat^t (B, k_u) of source users (B,) at the best epoch."""
        with torch.no_grad():
            return map_users(self.mapping(), self._source_vectors[users])

    def _validate(self) -> Errors:
        queries = self._validation
        predict = cold_predictor(
            lambda users: map_users(self._mapping, self._source_vectors[users]), self.target
        )
        return clipped_errors(
            torch.from_numpy(predict(queries.users, queries.items)), queries.values, self._scale
        )


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
