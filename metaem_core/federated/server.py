"""The server halves of stage 1 (Algorithm 1) and stage 2 (Algorithm 2)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metaem_core.federated.fedfast import Delegates
from metaem_core.federated.messages import Download, Upload
from metaem_core.models.mapping import map_users
from metaem_core.models.metaem import DomainModel
from metaem_core.models.mlp import Parameters, Perceptron
from metaem_core.training.optimizers import NetworkAdam, TableOptimizer


@dataclass(frozen=True)
class PretrainGradients:
    """What one round asks of the server's parameters."""

    users: Tensor  # rows of U (S, k_u)
    items: Tensor  # rows of V^c (n, k_c)
    networks: Parameters  # in the order of NETWORKS


class ChainRule:
    """From U and the networks to what a device step needs, and with its gradients back to them.

    Whoever holds the user vectors does it: the server, or in secure rounds each device.

    Virtual ratings hold no taste. Where a device shows ``dilution`` items for each that it rated,
    they hold a share ``1 / dilution`` of its taste. So that share is predicted, and the gradient is
    taken as if it were the whole of the real ratings' taste: on average it is exact.
    """

    trained = frozenset({"user_vectors", "private_items", "common_items", "item_tower"})

    def __init__(self, model: DomainModel, dilution: float = 1.0) -> None:
        self.model, self.dilution = model, dilution

    @torch.inference_mode()
    def download(self, cohort: Tensor, rows: Tensor) -> Download:
        """Algorithm 1, lines 5-6."""
        model, size = self.model, len(cohort)
        self._tower = Perceptron(model.user_tower, model.relu_last, size)
        self._meta = Perceptron(model.meta_network, model.relu_last, size)
        embeddings = model.user_embeddings.index_select(0, cohort)
        self._vectors = self._tower.forward(embeddings, torch.empty_like(embeddings))  # Eq. 5
        seen = embeddings if model.meta_reads_raw else self._vectors
        private = seen.new_empty(size, model.common_items.shape[1], model.item_tower[0].shape[1])
        self._meta.forward(seen, private.flatten(1))  # Eq. 3
        return Download(
            torch.cat(
                [model.weighed(self._vectors / self.dilution), model.user_weights(cohort)], 1
            ),
            private,
            model.common_items.index_select(0, rows),
            model.item_offsets.index_select(0, rows),
            model.item_features.index_select(0, rows),
            model.item_tower,
            model.relu_last,
            self.trained,
        )

    @torch.inference_mode()
    def gradients(self, download: Download, upload: Upload) -> PretrainGradients:
        """Finish the chain rule: gradients of the round's mean squared error (Eq. 8)."""
        model, tower = self.model, upload.gradients.get("item_tower")
        if tower is None:  # personal towers are stepped on the devices and never uploaded
            tower = tuple(torch.zeros_like(p) for p in model.item_tower)
        received = ("user_vectors", "private_items", "common_items")
        each = 1 / upload.n_ratings
        users, private, items, *shared = torch._foreach_mul(
            [*(upload.gradients[name][0] for name in received), *tower],
            [each] + [each * self.dilution] * (2 + len(tower)),  # the user's was not divided
        )
        users = users[:, : model.user_embeddings.shape[1]]
        weights = tuple((self._vectors * users).sum(0) for _ in model.gmf_weights)
        users = model.weighed(users)  # the product's derivative is the weights too
        through_meta = self._meta.backward(private.flatten(1))
        if model.meta_reads_raw:
            users = self._tower.backward(users).add_(through_meta)
        else:
            users = self._tower.backward(users.add_(through_meta))
        networks = (*self._meta.gradients, *self._tower.gradients, *shared, *weights)
        return PretrainGradients(users, items, networks)


class PretrainServer(ChainRule):
    """Holds U, V^c, the meta-network and both towers of one domain; devices hold the ratings."""

    def __init__(
        self,
        model: DomainModel,
        users: TableOptimizer | Delegates,
        items: TableOptimizer,
        nets: NetworkAdam,
        dilution: float = 1.0,
    ) -> None:
        super().__init__(model, dilution)
        self.users, self.items, self.nets = users, items, nets

    @torch.inference_mode()
    def apply(self, download: Download, upload: Upload, cohort: Tensor, rows: Tensor) -> None:
        """Algorithm 1, lines 11-12."""
        rated = replace(upload, n_ratings=round(upload.n_ratings / self.dilution))
        gradients = self.gradients(download, rated)
        self.users.update(cohort, gradients.users, rated)
        self.items.update(rows, gradients.items, rated)
        self.nets.step(gradients.networks)

    def state(self) -> dict[str, Tensor]:
        """Tables, networks and the moments of their optimisers."""
        parts = {"users": self.users, "items": self.items, "nets": self.nets}
        return {f"{p}.{n}": t for p, opt in parts.items() for n, t in opt.state().items()}


class MappingRule:
    """From source vectors and theta to what a device step needs, and back to theta.

    Whoever holds the source vectors does it: the target's server, or each device.
    """

    def __init__(
        self,
        start: Parameters,
        network: Parameters,
        target: DomainModel,
        sources: Tensor,
        by_task: bool,
    ) -> None:
        self.target, self.sources = target, sources
        self.trained = frozenset({"user_vectors"} | ({"private_items"} if by_task else set()))
        self.start, self.network = start, _leaves(network)

    def download(self, cohort: Tensor, rows: Tensor) -> Download:
        """``u_hat^t = f(MLP_user(u^s))`` (Eq. 11) and the private items made from it."""
        mapping = (*self.start, *self.network)
        vectors = map_users(mapping, self.sources.index_select(0, cohort))
        return Download.of(self.target, vectors, self.trained, rows)

    def gradients(self, download: Download, upload: Upload) -> Parameters:
        """Finish the chain rule to theta: gradients of the round's mean loss (Eqs. 12 and 14)."""
        names = sorted(upload.gradients)
        return torch.autograd.grad(
            [getattr(download, name) for name in names],
            self.network,
            [upload.gradients[name][0] / upload.n_ratings for name in names],
        )


class MappingServer(MappingRule):
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
        super().__init__(start, network, target, sources, by_task)
        self.nets = nets

    def apply(self, download: Download, upload: Upload, cohort: Tensor, rows: Tensor) -> None:
        """Algorithm 2, lines 8-9."""
        self.nets.step(self.gradients(download, upload))

    def state(self) -> dict[str, Tensor]:
        """The mapping and its optimiser's moments."""
        return {f"mapping.{name}": tensor for name, tensor in self.nets.state().items()}


def _leaves(parameters: Parameters) -> Parameters:
    """Views that autograd differentiates and that follow the parameters as they are stepped."""
    return tuple(p.detach().requires_grad_() for p in parameters)
