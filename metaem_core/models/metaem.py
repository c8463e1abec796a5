"""MetaEM's model of a domain: users (Eq. 5), private items (Eqs. 3, 4), ratings (Eq. 13)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metaem_core.models.forward import PredictionInputs, predict
from metaem_core.models.mlp import Parameters, mlp

TABLES = ("user_embeddings", "common_items", "item_offsets", "item_features", "user_profiles")
NETWORKS = ("meta_network", "user_tower", "item_tower", "gmf_weights")


@dataclass(frozen=True)
class DomainModel:
    """Everything that pretraining fixes for one domain (Section 3.2, end of stage 1)."""

    user_embeddings: Tensor  # U (m, k_u)
    common_items: Tensor  # V^c (n, k_c)
    item_offsets: Tensor  # mean rating + item bias (n,)
    item_features: Tensor  # one, bias, log popularity (n, 3); (n, 0) if uncentred
    user_profiles: Tensor  # (m, 11), bias first, each row on-device; (m, 0) if uncentred
    meta_network: Parameters  # g_phi: k_u -> k_c * k_p
    user_tower: Parameters  # MLP_user
    item_tower: Parameters  # MLP_item
    relu_last: bool  # Eqs. 4-6 as printed end in ReLU
    meta_reads_raw: bool  # Eq. 3 as printed feeds g the raw u, not MLP_user(u)
    gmf_weights: Parameters = ()  # w of GMF's ``w . (u * v)`` in Eq. 7, (k_u,); else none

    def embed_users(self, users: Tensor) -> Tensor:
        """``MLP_user(u_i)`` (Eq. 5) and, if centred, weights of the item features.

        Returns:
            User vectors (B, k_u) or (B, k_u + 3).
        """
        return torch.cat([self._embedded(users), self.user_weights(users)], 1)

    def source_vectors(self, users: Tensor) -> Tensor:
        """What a device transfers to another domain: ``MLP_user(u_i)`` and its profile (B, k_s)."""
        return torch.cat([self._embedded(users), self.user_profiles[users]], 1)

    def user_weights(self, users: Tensor) -> Tensor:
        """Weights of the item features (B, 3): the user's bias, 0, 0; (B, 0) if uncentred."""
        weights = self.user_profiles.new_zeros(len(users), self.item_features.shape[1])
        weights[:, :1] = self.user_profiles[users, :1]
        return weights

    def weighed(self, vectors: Tensor) -> Tensor:
        """User vectors (B, k_u or more) as Eq. 7 reads them; in GMF ``w * u_hat``."""
        if not self.gmf_weights:
            return vectors
        (weights,) = self.gmf_weights
        return torch.cat([vectors[:, : len(weights)] * weights, vectors[:, len(weights) :]], 1)

    def _embedded(self, users: Tensor) -> Tensor:
        return mlp(self.user_tower, self.user_embeddings[users], self.relu_last)

    def private_items(self, users: Tensor) -> Tensor:
        """``V^p_i = g(u_i)`` reshaped to k_c x k_p (Eqs. 3 and 4), for users (B, k_u or more)."""
        k_u, k_c = self.user_embeddings.shape[1], self.common_items.shape[1]
        private = mlp(self.meta_network, users[:, :k_u], self.relu_last)
        return private.view(len(users), k_c, len(self.meta_network[-1]) // k_c)

    def item_vectors(self) -> Tensor:
        """Item vectors (n, k_u) for a user vector of zeros: ``MLP_item(V^c V^p_0)``."""
        zero = self.user_embeddings.new_zeros(1, self.user_embeddings.shape[1])
        items = self.common_items @ self.private_items(zero)[0]
        return self.weighed(mlp(self.item_tower, items, self.relu_last))

    def inputs(self, vectors: Tensor, items: Tensor) -> PredictionInputs:
        """What Eqs. 2, 6 and 7 read: user ``vectors`` (S, k_u or more) and ``items`` (n,)."""
        return PredictionInputs(
            self.weighed(vectors),
            self.private_items(vectors),
            self.common_items.index_select(0, items),
            self.item_offsets.index_select(0, items),
            self.item_features.index_select(0, items),
            self.item_tower,
            self.relu_last,
        )

    def rate(self, vectors: Tensor, owner: Tensor, items: Tensor) -> Tensor:
        """Eq. 13 for mapped or own ``vectors`` (S, k_u), which also feed the meta-network.

        Args:
            vectors: one row a user.
            owner: row of ``vectors`` behind each pair (B,), ascending.
            items: item of each pair (B,).

        Returns:
            Ratings (B,).
        """
        rows, inverse = torch.unique(items, return_inverse=True)
        return predict(self.inputs(vectors, rows), owner, inverse)

    def rate_own(self, users: Tensor, owner: Tensor, items: Tensor) -> Tensor:
        """:meth:`rate` for users of this domain (S,), with the meta-network's own input (Eq. 7)."""
        rows, inverse = torch.unique(items, return_inverse=True)
        inputs = self.inputs(self.embed_users(users), rows)
        if self.meta_reads_raw:
            own = self.private_items(self.user_embeddings[users])
            inputs = replace(inputs, private_items=own)
        return predict(inputs, owner, inverse)

    @property
    def networks(self) -> Parameters:
        """All trained parameters but the tables, in the order of NETWORKS."""
        return tuple(parameter for name in NETWORKS for parameter in getattr(self, name))

    def tensors(self) -> dict[str, Tensor]:
        """The networks by flat name, as in a safetensors file."""
        return {k: part for name in NETWORKS for k, part in flat(name, getattr(self, name)).items()}


def domain_of(tensors: Mapping[str, Tensor], relu_last: bool, meta_reads_raw: bool) -> DomainModel:
    """A domain out of its tables by name and the flat names of :meth:`DomainModel.tensors`."""
    meta_network, user_tower, item_tower, weights = (network(tensors, name) for name in NETWORKS)
    return DomainModel(
        **{name: tensors[name] for name in TABLES},
        meta_network=meta_network,
        user_tower=user_tower,
        item_tower=item_tower,
        relu_last=relu_last,
        meta_reads_raw=meta_reads_raw,
        gmf_weights=weights,
    )


def flat(name: str, parameters: Parameters) -> dict[str, Tensor]:
    """One network by flat name: ``<name>.0``, ``<name>.1`` and so on."""
    return {f"{name}.{i}": parameter for i, parameter in enumerate(parameters)}


def network(tensors: Mapping[str, Tensor], name: str) -> Parameters:
    """One network out of the flat names of :func:`flat`."""
    layers = sum(key.startswith(f"{name}.") for key in tensors)
    return tuple(tensors[f"{name}.{i}"] for i in range(layers))
