"""MetaEM (Zheng et al.), stage 2: training f_theta, the mapping between domains (Algorithm 2)."""

import numpy as np
import torch
from torch import Tensor

from metaem_core.config.mapping import MappingConfig
from metaem_core.data.bias import Biases, fitted_biases
from metaem_core.data.pair import DomainPair, Queries
from metaem_core.evaluation.metrics import Doubles, row_errors
from metaem_core.federated.bytes import mapping_traffic
from metaem_core.federated.encoding import Traffic
from metaem_core.federated.rounds import Backend, SimulatedRounds
from metaem_core.federated.server import MappingServer
from metaem_core.federated.simulation import CohortSimulation, DistanceTarget
from metaem_core.federated.training import Training
from metaem_core.methods.metaem.cold_start import cold_predictor
from metaem_core.methods.metaem.evidence import proven
from metaem_core.methods.metaem.mapping_start import (
    OverlapSums,
    SourceView,
    TargetView,
    directions_of,
    identity,
    source_view,
    target_view,
    transfer_lines,
)
from metaem_core.models.mapping import map_users
from metaem_core.models.metaem import DomainModel
from metaem_core.models.mlp import Parameters, init_mlp
from metaem_core.training.epochs import Errors, clipped_errors
from metaem_core.training.optimizers import NetworkAdam


class MappingTraining:
    """Stage 2; ``training`` does the work, :meth:`mapping` is the result."""

    def __init__(
        self,
        config: MappingConfig,
        learning_rate: float,
        source_vectors: Tensor,  # of every source user (m_s, k_s)
        target: DomainModel,
        pair: DomainPair,
        validation: Queries,
        start: Parameters | None = None,  # fitted if not given
    ) -> None:
        centred = target.user_profiles.shape[1] > 0
        network = fresh_network(config, source_vectors.shape[1], target, source_vectors.dtype)
        start = start or _start(source_vectors, target, pair)
        # training corrects the start in full; validation and the result by the share ``trust``
        *line, gain = start
        self.start, self.network = start, network
        self.trusted = (*line, gain * config.trust) if centred else start
        self._validation, self._scale = validation, config.scale
        self._user_damping = fitted_biases(pair.target).user_damping if centred else None
        self._source_vectors, self.target = source_vectors, target
        by_task = config.loss == "task"
        nets = NetworkAdam(network, learning_rate, config.l2)
        sources = source_vectors.new_zeros(pair.target.n_users, source_vectors.shape[1])
        users = torch.from_numpy(pair.train_target)
        sources[users] = source_vectors[torch.from_numpy(pair.train_source)]
        everyone = torch.arange(pair.target.n_users)
        with torch.no_grad():
            backend: Backend = (
                CohortSimulation(pair.target, source_vectors.dtype)
                if by_task
                else DistanceTarget(target.weighed(target.embed_users(everyone)))
            )
        self._server = MappingServer(start, network, target, sources, nets, by_task)
        self.training = Training(
            SimulatedRounds(self._server, backend),
            users,
            config,
            {str(i): p for i, p in enumerate(network)},
            self._validate,
        )

    def traffic(self) -> tuple[Traffic, Traffic]:
        """Bytes of one epoch of all devices, and of what each device downloads once."""
        by_task = "private_items" in self._server.trained
        each, once = mapping_traffic(self.target, by_task)
        devices = len(self.training.users)
        return Traffic(devices * each.down, devices * each.up), once

    def mapping(self) -> Parameters:
        """f_theta at its best epoch.

        In a centred domain its correction of the start counts by ``trust``, and by how much the
        validation users prove of it.
        """
        best = tuple(self.training.best_tensors().values())
        if self._user_damping is None:
            return (*self.trusted, *best)
        *line, gain = self.trusted
        users = self._validation.users
        before, after = (
            self._squared_errors((*line, each, *best)) for each in (torch.zeros_like(gain), gain)
        )
        return (*line, gain * proven(before, after, users, self._user_damping), *best)

    def _squared_errors(self, mapping: Parameters) -> Doubles:
        """Of the validation users' ratings (R,)."""
        queries, vectors = self._validation, self._source_vectors
        predict = cold_predictor(lambda users: map_users(mapping, vectors[users]), self.target)
        predicted = predict(queries.users, queries.items).clip(self._scale.low, self._scale.high)
        return np.square(row_errors(predicted, queries.values))

    def map_users(self, users: Tensor) -> Tensor:
        """Vectors u_hat^t (B, k_u) of source users (B,) at the best epoch."""
        with torch.no_grad():
            return map_users(self.mapping(), self._source_vectors[users])

    def _validate(self) -> Errors:
        queries = self._validation
        predict = cold_predictor(
            lambda users: map_users((*self.trusted, *self.network), self._source_vectors[users]),
            self.target,
        )
        return clipped_errors(
            torch.from_numpy(predict(queries.users, queries.items)), queries.values, self._scale
        )


def fresh_network(
    config: MappingConfig, size: int, target: DomainModel, dtype: torch.dtype
) -> Parameters:
    """The network that corrects the start (Algorithm 2, line 1); it starts at zero if centred.

    Args:
        size: k_s.
    """
    hidden, size_out = config.hidden_size, mapped_size(target)
    draw = torch.Generator().manual_seed(config.seed)
    network = init_mlp((size, hidden, hidden, size_out), draw, dtype)
    if target.user_profiles.shape[1] > 0:
        network[-2].zero_()
    return network


def mapped_size(target: DomainModel) -> int:
    """Width of u_hat^t: taste, and a weight for each item feature."""
    return target.user_embeddings.shape[1] + target.item_features.shape[1]


def _start(source_vectors: Tensor, target: DomainModel, pair: DomainPair) -> Parameters:
    """The start, fitted to all users' source vectors."""
    if target.user_profiles.shape[1] == 0:
        return identity(source_vectors.shape[1], mapped_size(target), source_vectors.dtype)
    biases = fitted_biases(pair.target)
    source, view = start_views(biases, source_vectors, target, pair)
    overlap, source_users = pair.overlap_ratings()
    own, bias = source_vectors[torch.from_numpy(source_users)], biases.user[overlap.users]
    sums = OverlapSums(source, view, own, bias, overlap.users, overlap.items, overlap.values)
    return transfer_lines(source, view, sums)


def start_views(
    biases: Biases, source_vectors: Tensor, target: DomainModel, pair: DomainPair
) -> tuple[SourceView, TargetView]:
    """What both domains publish for the start; ``biases`` of the target."""
    source = source_view(source_vectors, pair.source, directions_of(target))
    return source, target_view(target, biases, pair)
