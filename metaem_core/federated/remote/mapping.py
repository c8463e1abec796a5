"""Stage 2 by sums: a device hands its source vector from the source's app to the target's itself.

Neither company tells the other anything of a user. The source's app leaves ``u^s`` on the device;
the target's app reads it there and answers with masked gradients of theta (Eq. 14). Without masks
they would reveal ``u^s`` once theta's last layer has moved from its zeros: the first layer's
gradient is a product of it with another vector.
"""

from dataclasses import replace

import torch
from torch import Tensor

from metaem_core.data.ratings import RatingScale
from metaem_core.federated.device import PrivateRatings, device_step
from metaem_core.federated.encoding import Message, encode
from metaem_core.federated.private import Private
from metaem_core.federated.remote.device import summed_errors
from metaem_core.federated.remote.exchange import Exchange
from metaem_core.federated.remote.secure_rounds import linked_round
from metaem_core.federated.rounds import RoundStats
from metaem_core.federated.secure.coding import LIMIT, Closing, Totals, bounded
from metaem_core.federated.secure.pretraining import broadcast, received
from metaem_core.federated.server import MappingRule
from metaem_core.models.mapping import map_users
from metaem_core.models.metaem import DomainModel, flat, network
from metaem_core.models.mlp import Parameters
from metaem_core.training.epochs import Errors
from metaem_core.training.optimizers import NetworkAdam

TARGET = "target."


class MappingDevice(Private):
    """A device with a source vector, and ratings of the target domain to learn by."""

    def __init__(self, source: Tensor, target: DomainModel, items: Tensor, values: Tensor) -> None:
        """``source`` (1, k_s): DomainModel.source_vectors of its user; ``target`` holds no user."""
        self._source, self._target = source, target
        self._ratings = PrivateRatings(torch.zeros_like(items), items, values)

    def contribution(self, message: Message) -> tuple[list[Tensor], Totals]:
        """Algorithm 2, lines 4 to 6: gradients by theta."""
        target = self._received(message)
        theta = network(message, "start"), network(message, "network")
        rule = MappingRule(*theta, target, self._source, by_task=True)
        rows = torch.arange(len(target.common_items))
        download = rule.download(torch.zeros(1, dtype=torch.long), rows)
        upload = device_step(download, self._ratings)
        gradients, _ = bounded([*rule.gradients(download, replace(upload, n_ratings=1))])
        return gradients, Totals(upload.squared_error, upload.n_ratings, 0.0)

    def close(self, closing: Closing) -> None:
        """Nothing of a device is trained here."""

    def errors(self, message: Message, scale: RatingScale) -> bytes:
        """Sums of its errors under the theta of a message, on all its ratings here."""
        theta = (*network(message, "start"), *network(message, "network"))
        vectors, own = map_users(theta, self._source), self._ratings
        with torch.no_grad():
            predicted = self._received(message).rate(vectors, own.owner, own.rows)
        return summed_errors(predicted, own.values, scale)

    def _received(self, message: Message) -> DomainModel:
        sent = {n.removeprefix(TARGET): t for n, t in message.items() if n.startswith(TARGET)}
        return received(sent, self._target)


class SumMappingServer:
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
        return theta_message(self.start, self.network, self.target)

    def apply(self, gradients: list[Tensor], totals: Totals) -> tuple[RoundStats, Closing]:
        """Algorithm 2, lines 8-9."""
        stats = RoundStats(totals.squared_error, round(totals.n_ratings))
        dtype = self.network[0].dtype
        self.nets.step(tuple(gradient.to(dtype) / stats.n_ratings for gradient in gradients))
        return stats, Closing(stats.n_ratings, 0.0)


class RemoteMapping:
    """Rounds of stage 2 over a link, each a secure one: the server reads sums of gradients."""

    def __init__(self, server: SumMappingServer, exchange: Exchange, shown: Parameters) -> None:
        """``shown``: the start that is validated with."""
        self.server, self.exchange, self._shown = server, exchange, shown

    def round(self, cohort: Tensor) -> RoundStats:
        """Algorithm 2, lines 3-9, for those who answered; raises as :func:`linked_round`."""
        return linked_round(self.server, self.exchange, cohort.tolist(), LIMIT)

    def validate(self, users: Tensor) -> Errors:
        """Errors of users (B,) whose ratings here train nothing; raises as Exchange.errors."""
        theta = theta_message(self._shown, self.server.network, self.server.target)
        return self.exchange.errors(dict.fromkeys(users.tolist(), encode(theta)))

    def state(self) -> dict[str, Tensor]:
        own = {f"mapping.{name}": tensor for name, tensor in self.server.nets.state().items()}
        return {**own, **self.exchange.state()}


def theta_message(start: Parameters, correction: Parameters, target: DomainModel) -> Message:
    """All that a device is sent."""
    frozen = {f"{TARGET}{name}": part for name, part in broadcast(target).items()}
    trained = tuple(part.detach() for part in correction)
    return {**flat("start", start), **flat("network", trained), **frozen}
