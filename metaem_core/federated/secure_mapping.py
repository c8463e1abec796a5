"""Secure rounds of stage 2: a device carries its source vector to the target's app by itself.

Neither company tells the other anything of a user: the source's app leaves ``u^s`` on the device,
the target's app takes it from there and answers with masked gradients of theta (Eq. 14) alone.
"""

from dataclasses import replace

import torch
from torch import Tensor

from metaem_core.federated.device import PrivateRatings, device_step
from metaem_core.federated.optimizers import NetworkAdam
from metaem_core.federated.rounds import RoundStats
from metaem_core.federated.secure_rounds import Closing, Totals, bounded, broadcast, received
from metaem_core.federated.server import MappingRule
from metaem_core.federated.wire import Message
from metaem_core.models.domain import DomainModel
from metaem_core.models.mlp import Parameters
from metaem_core.privacy.private import Private

START, NETWORK, TARGET = "start.", "network.", "target."


class CarriedUser(Private):
    """A device with a source vector, and ratings of the target domain to learn by."""

    def __init__(self, source: Tensor, target: DomainModel, items: Tensor, values: Tensor) -> None:
        """``source`` (1, k_s): DomainModel.profiles of its user; ``target`` holds no user."""
        self._source, self._target = source, target
        self._ratings = PrivateRatings(torch.zeros_like(items), items, values)

    def contribution(self, message: Message) -> tuple[list[Tensor], Totals]:
        """Algorithm 2, lines 4 to 6: gradients by theta."""
        start, network = _numbered(message, START), _numbered(message, NETWORK)
        target = received(_named(message, TARGET), self._target)
        rule = MappingRule(start, network, target, self._source, by_task=True)
        rows = torch.arange(len(target.common_items))
        download = rule.download(torch.zeros(1, dtype=torch.long), rows)
        upload = device_step(download, self._ratings)
        gradients, _ = bounded([*rule.gradients(download, replace(upload, n_ratings=1))])
        return gradients, Totals(upload.squared_error, upload.n_ratings, 0.0)

    def close(self, closing: Closing) -> None:
        """Nothing of a device is trained here."""


class SecureMappingServer:
    """The target's server, which steps theta by sums."""

    def __init__(
        self, start: Parameters, network: Parameters, target: DomainModel, nets: NetworkAdam
    ) -> None:
        self.start, self.network, self.target, self.nets = start, network, target, nets

    @property
    def shapes(self) -> tuple[torch.Size, ...]:
        return tuple(parameter.shape for parameter in self.network)

    def broadcast(self) -> Message:
        """Theta, and the target's frozen model, which a device could keep from the first round."""
        return {
            **{f"{START}{i}": part for i, part in enumerate(self.start)},
            **{f"{NETWORK}{i}": part.detach() for i, part in enumerate(self.network)},
            **{f"{TARGET}{name}": part for name, part in broadcast(self.target).items()},
        }

    def apply(self, gradients: list[Tensor], totals: Totals) -> tuple[RoundStats, Closing]:
        """Algorithm 2, lines 8-9."""
        stats = RoundStats(totals.squared_error, round(totals.n_ratings))
        dtype = self.network[0].dtype
        self.nets.step(tuple(gradient.to(dtype) / stats.n_ratings for gradient in gradients))
        return stats, Closing(stats.n_ratings, 0.0)


def _named(message: Message, prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): part for n, part in message.items() if n.startswith(prefix)}


def _numbered(message: Message, prefix: str) -> Parameters:
    found = _named(message, prefix)
    return tuple(found[str(i)] for i in range(len(found)))
