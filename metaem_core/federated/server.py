"""The server halves of stage 1 (Algorithm 1) and stage 2 (Algorithm 2)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metaem_core.federated.optimizers import NetworkAdam, TableOptimizer
from metaem_core.federated.protocol import Download, Upload
from metaem_core.models.domain import DomainModel, private_items
from metaem_core.models.mapping import map_users
from metaem_core.models.mlp import Parameters, mlp


@dataclass(frozen=True)
class PretrainGradients:
    """What one round asks of the server's parameters."""

    users: Tensor  # rows of U (S, k_u)
    items: Tensor  # rows of V^c (n, k_c)
    networks: Parameters  # meta-network, MLP_user, MLP_item


class PretrainServer:
    """Holds U, V^c, the meta-network and both towers of one domain; devices hold the ratings."""

    trained = frozenset({"user_vectors", "private_items", "common_items", "item_tower"})

    def __init__(
        self, model: DomainModel, users: TableOptimizer, items: TableOptimizer, nets: NetworkAdam
    ) -> None:
        self.model, self.users, self.items, self.nets = model, users, items, nets
        self._meta = _leaves(model.meta_network)
        self._tower = _leaves(model.user_tower)
        self._embeddings = torch.empty(0)

    def download(self, cohort: Tensor, rows: Tensor) -> Download:
        """Algorithm 1, lines 5-6."""
        model = self.model
        self._embeddings = model.user_embeddings.index_select(0, cohort).requires_grad_()
        vectors = mlp(self._tower, self._embeddings, model.relu_last)  # Eq. 5
        seen = self._embeddings if model.meta_reads_raw else vectors
        k_c = model.common_items.shape[1]
        return Download(
            torch.cat([vectors, model.user_weights(cohort)], 1),
            private_items(self._meta, seen, k_c, model.relu_last),  # Eq. 3
            model.common_items.index_select(0, rows),
            model.item_offsets.index_select(0, rows),
            model.item_traits.index_select(0, rows),
            model.item_tower,
            model.relu_last,
            self.trained,
        )

    def gradients(self, download: Download, upload: Upload) -> PretrainGradients:
        """Finish the chain rule: gradients of the round's mean squared error (Eq. 8)."""
        share = 1 / upload.n_ratings
        received = ("user_vectors", "private_items")
        kept = torch.autograd.grad(
            [getattr(download, name) for name in received],
            [self._embeddings, *self._meta, *self._tower],
            [upload.gradients[name][0] * share for name in received],
        )
        tower = upload.gradients.get("item_tower")
        if tower is None:  # personal towers are stepped on the devices and never uploaded
            tower = tuple(torch.zeros_like(p) for p in self.model.item_tower)
        return PretrainGradients(
            users=kept[0],
            items=upload.gradients["common_items"][0] * share,
            networks=(*kept[1:], *(g * share for g in tower)),
        )

    def apply(self, download: Download, upload: Upload, cohort: Tensor, rows: Tensor) -> None:
        """Algorithm 1, lines 11-12."""
        gradients = self.gradients(download, upload)
        self.users.update(cohort, gradients.users, upload)
        self.items.update(rows, gradients.items, upload)
        self.nets.step(gradients.networks)

    def state(self) -> dict[str, Tensor]:
        """Tables, networks and the moments of their optimisers."""
        parts = {"users": self.users, "items": self.items, "nets": self.nets}
        return {f"{p}.{n}": t for p, opt in parts.items() for n, t in opt.state().items()}


class MappingServer:
    """The target's server: trains f_theta while everything pretrained stays as it is."""

    def __init__(
        self,
        start: Parameters,
        network: Parameters,
        target: DomainModel,
        sources: Tensor,
        nets: NetworkAdam,
        by_task: bool,
    ) -> None:
        self.target, self.sources, self.nets = target, sources, nets
        self.trained = frozenset({"user_vectors"} | ({"private_items"} if by_task else set()))
        self.start, self.network = start, _leaves(network)

    def download(self, cohort: Tensor, rows: Tensor) -> Download:
        """``u_hat^t = f(MLP_user(u^s))`` (Eq. 11) and the private items made from it."""
        mapping = (*self.start, *self.network)
        vectors = map_users(mapping, self.sources.index_select(0, cohort))
        return self.target.download(vectors, self.trained, rows)

    def gradients(self, download: Download, upload: Upload) -> Parameters:
        """Finish the chain rule to theta: gradients of the round's mean loss (Eqs. 12 and 14)."""
        names = sorted(upload.gradients)
        return torch.autograd.grad(
            [getattr(download, name) for name in names],
            self.network,
            [upload.gradients[name][0] / upload.n_ratings for name in names],
        )

    def apply(self, download: Download, upload: Upload, cohort: Tensor, rows: Tensor) -> None:
        """Algorithm 2, lines 8-9."""
        self.nets.step(self.gradients(download, upload))

    def state(self) -> dict[str, Tensor]:
        """The mapping and its optimiser's moments."""
        return {f"mapping.{name}": tensor for name, tensor in self.nets.state().items()}


def _leaves(parameters: Parameters) -> Parameters:
    """Views that autograd differentiates and that follow the parameters as they are stepped."""
    return tuple(p.detach().requires_grad_() for p in parameters)
