"""MetaEM (Zheng et al.), stage 1: federated pretraining of one domain (Algorithm 1)."""

import math

import numpy as np
import torch
from torch import Tensor

from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.bias import fitted_biases
from metaem_core.data.ratings import Ratings, hold_out
from metaem_core.data.user_profile import ItemScale, ProfileStatistics
from metaem_core.evaluation.metrics import Reals
from metaem_core.federated.bytes import epoch_traffic
from metaem_core.federated.encoding import Traffic
from metaem_core.federated.fedfast import Delegates
from metaem_core.federated.personal_towers import PersonalTowers
from metaem_core.federated.rounds import Draw, SimulatedRounds, cohorts, whole_cohorts
from metaem_core.federated.server import PretrainServer
from metaem_core.federated.simulation import CohortSimulation
from metaem_core.federated.training import Training
from metaem_core.federated.virtual_ratings import with_virtual_ratings
from metaem_core.methods.metaem.pretraining_start import leave_saddle
from metaem_core.models.metaem import DomainModel, domain_of
from metaem_core.models.mlp import Parameters, init_mlp
from metaem_core.training.epochs import Errors, clipped_errors
from metaem_core.training.optimizers import LazyAdam, NetworkAdam, RowNewton, TableOptimizer
from metaem_core.training.seeds import derived_generator


class Pretraining:
    """Stage 1 for one domain; ``training`` does the work, :meth:`model` is the result."""

    def __init__(
        self, config: PretrainConfig, ratings: Ratings, dtype: torch.dtype = torch.float32
    ) -> None:
        self.config, self.dtype, self._ratings = config, dtype, ratings
        kept, self._held = hold_out(ratings, config.holdout, config.seed)
        self._model = _fresh_domain(config, kept, dtype)
        share = config.pseudo_items
        seen = with_virtual_ratings(kept, share, config.seed, config.scale) if share else kept
        self._towers: PersonalTowers | None = None
        rounded = config.seed if config.payload == "rows" else None
        simulation = CohortSimulation(seen, dtype, rounded)
        users = torch.from_numpy(np.unique(kept.users))
        if config.item_tower == "personal":
            self._towers = PersonalTowers(
                simulation, self._model.item_tower, kept.n_users, config.learning_rate, config.l2
            )
        # uncentred, virtual ratings count too
        self._counts = _counts(kept if config.centred else seen)
        self._shown = self._counts[0] if seen is kept else _counts(seen)[0]
        dilution = len(seen) / len(kept) if config.centred else 1.0
        server = pretrain_server(config, self._model, *self._counts, dilution)
        self.training = Training(
            SimulatedRounds(server, self._towers or simulation),
            users,
            config,
            live_tensors(self._model),
            self._validate,
            _draw(config, server),
        )

    def start(self) -> tuple[DomainModel, Tensor, Tensor, Tensor]:
        """The arguments of :func:`pretrain_server` elsewhere, and the users with any rating."""
        members = torch.from_numpy(np.unique(self._ratings.users))
        return self._model, *self._counts, members

    def traffic(self) -> Traffic:
        """Bytes of one epoch, in which each device answers once."""
        shown = self._shown[self._shown > 0].numpy()
        return epoch_traffic(self.config, self._ratings.n_items, shown)

    def model(self) -> DomainModel:
        """The domain at its best epoch."""
        config, best = self.config, self.training.best_tensors()
        known = _statistics(config, self._ratings, self.dtype)  # held-out ratings included
        return domain_of({**best, **known}, config.relu_last, config.meta_reads_raw)

    def _validate(self) -> Errors:
        model, held = self._model, self._held
        if self._towers is not None:
            for live, average in zip(model.item_tower, self._towers.average(), strict=True):
                live.copy_(average)
        users, owner = np.unique(held.users, return_inverse=True)
        with torch.no_grad():
            rows = torch.from_numpy(users)
            predicted = model.rate_own(rows, torch.from_numpy(owner), torch.from_numpy(held.items))
        return clipped_errors(predicted, held.values, self.config.scale)


def pretrain_server(
    config: PretrainConfig,
    model: DomainModel,
    of_user: Tensor,
    of_item: Tensor,
    dilution: float = 1.0,
) -> PretrainServer:
    """The server of ``model``, which it changes in place.

    Args:
        of_user: how many ratings of each user's train it (m,); they set the length of steps.
        of_item: the same of each item (n,).
        dilution: items in a device's upload for each rated one.
    """
    rounds = math.ceil(int((of_user > 0).sum()) / config.cohort_size)
    visits = rounds * (1 - (1 - 1 / rounds) ** of_item)  # expected rounds that touch an item
    users = _table_optimizer(model.user_embeddings, config, of_user, torch.ones(len(of_user)))
    return PretrainServer(
        model,
        Delegates(users, config.clusters, config.discount) if config.clusters else users,
        _table_optimizer(model.common_items, config, of_item, visits),
        NetworkAdam(model.networks, config.learning_rate, config.l2),
        dilution,
    )


def _draw(config: PretrainConfig, server: PretrainServer) -> Draw:
    if isinstance(server.users, Delegates):
        return server.users.cohorts
    return whole_cohorts if config.payload == "secure" else cohorts


def live_tensors(model: DomainModel) -> dict[str, Tensor]:
    """The tensors that training changes, by name."""
    tables = {"user_embeddings": model.user_embeddings, "common_items": model.common_items}
    return {**tables, **model.tensors()}


def _fresh_domain(config: PretrainConfig, ratings: Ratings, dtype: torch.dtype) -> DomainModel:
    """Algorithm 1, line 1."""
    start = derived_generator(config.seed, ratings.n_users, ratings.n_items)
    k_u, k_c, k_p = config.user_size, config.common_size, config.private_size

    def table(rows: int, size: int) -> Tensor:
        return torch.randn(rows, size, generator=start, dtype=dtype) * config.init_std

    def three_layers(first: int, last: int) -> Parameters:
        return init_mlp((first, config.hidden_size, config.hidden_size, last), start, dtype)

    def tower(first: int, last: int) -> Parameters:
        deep = config.base == "dnn"
        return three_layers(first, last) if deep else init_mlp((first, last), start, dtype)

    model = DomainModel(
        user_embeddings=table(ratings.n_users, k_u),
        common_items=table(ratings.n_items, k_c),
        **_statistics(config, ratings, dtype),
        meta_network=three_layers(k_u, k_c * k_p),
        user_tower=tower(k_u, k_u),
        item_tower=tower(k_p, k_u),
        relu_last=config.relu_last,
        meta_reads_raw=config.meta_reads_raw,
        gmf_weights=(torch.ones(k_u, dtype=dtype),) if config.base == "gmf" else (),
    )
    if config.centred:
        leave_saddle(model, _counts(ratings)[1], start)
    return model


def _statistics(config: PretrainConfig, ratings: Ratings, dtype: torch.dtype) -> dict[str, Tensor]:
    """Item offsets (n,), item features (n, 3) and user profiles (m, 11); empty if uncentred."""
    offsets: Reals = np.zeros(ratings.n_items)
    features: Reals = np.zeros((ratings.n_items, 0))
    profiles: Reals = np.zeros((ratings.n_users, 0))
    if config.centred:
        biases = fitted_biases(ratings)
        counts = np.bincount(ratings.items, minlength=ratings.n_items)
        offsets = biases.mean + biases.item
        features = ItemScale.of(ratings, biases).features(biases.item, counts)
        profiles = ProfileStatistics.of(ratings, biases).profiles(ratings, biases.user)
    named = {"item_offsets": offsets, "item_features": features, "user_profiles": profiles}
    return {name: torch.from_numpy(table).to(dtype) for name, table in named.items()}


def _counts(ratings: Ratings) -> tuple[Tensor, Tensor]:
    """Ratings of each user (m,) and of each item (n,)."""
    users = np.bincount(ratings.users, minlength=ratings.n_users)
    items = np.bincount(ratings.items, minlength=ratings.n_items)
    return torch.from_numpy(users), torch.from_numpy(items)


def _table_optimizer(
    table: Tensor, config: PretrainConfig, counts: Tensor, visits: Tensor
) -> TableOptimizer:
    learning_rate, l2 = config.table_learning_rate, config.table_l2
    if config.tables == "newton":
        return RowNewton(table, learning_rate, l2, counts, visits)
    return LazyAdam(table, learning_rate, l2)
