"""Rounds of stage 1 in which user vectors stay on their devices and the server sees sums alone.

The server sends everyone the same model. A device does the chain rule itself, from its ratings to
the item table and the networks, and its gradient travels as whole multiples of a unit under the
masks of :mod:`aggregation`. Once the sum is open the server sends the round's totals, and
the device steps its own vector. Up to the unit the round is that of :class:`PretrainServer`.
"""

from dataclasses import replace

import torch
from torch import Tensor

from metaem_core.federated.device import PrivateRatings, device_step
from metaem_core.federated.encoding import Message
from metaem_core.federated.private import Private
from metaem_core.federated.rounds import RoundStats
from metaem_core.federated.secure.coding import Closing, Totals, bounded
from metaem_core.federated.server import ChainRule
from metaem_core.models.metaem import DomainModel, domain_of
from metaem_core.training.optimizers import NetworkAdam, RowNewton


def broadcast(model: DomainModel) -> Message:
    """What every device is sent: all of a domain but its users."""
    return {
        "common_items": model.common_items,
        "item_offsets": model.item_offsets,
        "item_features": model.item_features,
        **model.tensors(),
    }


def received(message: Message, own: DomainModel) -> DomainModel:
    """The domain of one, on the device: what was sent and the user that it keeps."""
    user = {"user_embeddings": own.user_embeddings, "user_profiles": own.user_profiles}
    return domain_of({**message, **user}, own.relu_last, own.meta_reads_raw)


def shapes_of(model: DomainModel) -> tuple[torch.Size, ...]:
    """Of the gradients that are summed: V^c and every network."""
    return tuple(tensor.shape for tensor in (model.common_items, *model.networks))


class PretrainDevice(Private):
    """A device between rounds: its ratings, its vector ``u_i`` and how that is stepped."""

    def __init__(
        self, user: int, model: DomainModel, users: RowNewton, items: Tensor, values: Tensor
    ) -> None:
        """Takes a copy of row ``user`` of the model's U, and of what steps it."""
        one = slice(user, user + 1)
        self.vector = model.user_embeddings[one].clone()
        self._own = replace(
            model, user_embeddings=self.vector, user_profiles=model.user_profiles[one]
        )
        self._newton = users.of_row(user, self.vector)
        self._ratings = PrivateRatings(torch.zeros_like(items), items, values)
        self._pull: Tensor | None = None

    def contribution(self, message: Message) -> tuple[list[Tensor], Totals]:
        """Algorithm 1, lines 6 to 9: gradients by V^c and by every network, and the totals."""
        model = received(message, self._own)
        chain, everything = ChainRule(model), torch.arange(len(model.common_items))
        download = chain.download(torch.zeros(1, dtype=torch.long), everything)
        upload = device_step(download, self._ratings)
        summed = replace(upload, n_ratings=1)  # gradients of the sum, not of the mean
        gradients = chain.gradients(download, summed)
        shared, shrink = bounded([gradients.items, *gradients.networks])
        self._pull = gradients.users * shrink
        squares = float(self._pull.square().sum())
        return shared, Totals(upload.squared_error, upload.n_ratings, squares)

    def close(self, closing: Closing) -> None:
        """Algorithm 1, line 11, on the device; a device that heard nothing does not move."""
        if self._pull is None:
            raise ValueError("a round was closed that this device took no part in")
        mean = self._pull / closing.n_ratings
        self._newton.step(torch.zeros(1, dtype=torch.long), mean, *closing)
        self._pull = None


class SecureServer:
    """V^c and the networks of one domain, stepped by sums over cohorts; no user's anything."""

    def __init__(
        self, model: DomainModel, items: RowNewton, nets: NetworkAdam, users: RowNewton
    ) -> None:
        """``users`` gives the curvature alone, which is sent to the devices."""
        vectors, profiles = model.user_embeddings[:0], model.user_profiles[:0]  # of nobody
        self.model = replace(model, user_embeddings=vectors, user_profiles=profiles)
        self.items, self.nets, self._users = items, nets, users

    def broadcast(self) -> Message:
        return broadcast(self.model)

    @property
    def shapes(self) -> tuple[torch.Size, ...]:
        return shapes_of(self.model)

    def apply(self, gradients: list[Tensor], totals: Totals) -> tuple[RoundStats, Closing]:
        """Algorithm 1, lines 11-12, for what the server holds; rows without gradient stay."""
        stats = RoundStats(totals.squared_error, round(totals.n_ratings))
        dtype = self.model.common_items.dtype
        items, *networks = (gradient.to(dtype) / stats.n_ratings for gradient in gradients)
        rows = items.any(1).nonzero().flatten()
        self.items.update(rows, items.index_select(0, rows), stats)
        self.nets.step(tuple(networks))
        curvature = self._users.observe(totals.squares, stats.squared_error)
        return stats, Closing(stats.n_ratings, curvature)
