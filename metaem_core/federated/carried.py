"""Stage 2 by sums: a device carries its source vector to the target's app by itself.

Neither company tells the other anything of a user: the source's app leaves ``u^s`` on the device,
the target's app takes it from there and answers with gradients of theta (Eq. 14) alone, in secure
rounds under masks, over a link as they are.
"""

from dataclasses import replace

import torch
from torch import Tensor

from metaem_core.federated.device import PrivateRatings, device_step
from metaem_core.federated.optimizers import NetworkAdam
from metaem_core.federated.protocol import Upload, combine
from metaem_core.federated.remote import Exchange, summed_errors
from metaem_core.federated.rounds import RoundStats
from metaem_core.federated.secure_rounds import Closing, Totals, bounded, broadcast, received
from metaem_core.federated.server import MappingRule
from metaem_core.federated.training import Errors
from metaem_core.federated.wire import Contract, Message, decode, encode
from metaem_core.models.domain import DomainModel
from metaem_core.models.mapping import map_users
from metaem_core.models.mlp import Parameters
from metaem_core.privacy.private import Private
from metaem_core.ratings import RatingScale

START, NETWORK, TARGET = "start.", "network.", "target."


class CarriedUser(Private):
    """A device with a source vector, and ratings of the target domain to learn by."""

    def __init__(self, source: Tensor, target: DomainModel, items: Tensor, values: Tensor) -> None:
        """``source`` (1, k_s): DomainModel.profiles of its user; ``target`` holds no user."""
        self._source, self._target = source, target
        self._ratings = PrivateRatings(torch.zeros_like(items), items, values)

    def contribution(self, message: Message) -> tuple[list[Tensor], Totals]:
        """Algorithm 2, lines 4 to 6: gradients by theta."""
        start, network = numbered(message, START), numbered(message, NETWORK)
        target = received(_named(message, TARGET), self._target)
        rule = MappingRule(start, network, target, self._source, by_task=True)
        rows = torch.arange(len(target.common_items))
        download = rule.download(torch.zeros(1, dtype=torch.long), rows)
        upload = device_step(download, self._ratings)
        gradients, _ = bounded([*rule.gradients(download, replace(upload, n_ratings=1))])
        return gradients, Totals(upload.squared_error, upload.n_ratings, 0.0)

    def close(self, closing: Closing) -> None:
        """Nothing of a device is trained here."""

    def errors(self, message: Message, scale: RatingScale) -> bytes:
        """What it tells of its errors by the theta of a message, on all its ratings here."""
        theta = (*numbered(message, START), *numbered(message, NETWORK))
        target = received(_named(message, TARGET), self._target)
        own = self._ratings
        with torch.no_grad():
            predicted = target.rate(map_users(theta, self._source), own.owner, own.rows)
        return summed_errors(predicted, own.values, scale)


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
    """Rounds of stage 2 over a link: one message for all, and from each the gradient of theta."""

    def __init__(
        self, server: SumMappingServer, exchange: Exchange, of_user: Tensor, shown: Parameters
    ) -> None:
        """``of_user`` (m,): ratings of each; ``shown``: the start that is validated with."""
        self.server, self.exchange = server, exchange
        self._of_user, self._shown = of_user, shown

    def round(self, cohort: Tensor) -> RoundStats:
        """Algorithm 2, lines 3-9, for those who answered; raises as Exchange.gathered."""
        message, form = encode(self.server.broadcast()), _answer_form(self.server.shapes)

        def read(device: int, answer: bytes) -> Upload:
            told = decode(answer, form)
            squared_error, n_ratings = told["totals"].tolist()
            gradients = tuple(told[f"{NETWORK}{i}"] for i in range(len(self.server.shapes)))
            return Upload({"theta": gradients}, squared_error, int(n_ratings))

        counts = dict(zip(cohort.tolist(), self._of_user[cohort].tolist(), strict=True))
        uploads = self.exchange.gathered(dict.fromkeys(counts, message), counts, read)
        whole = combine([*uploads.values()], frozenset())
        totals = Totals(whole.squared_error, whole.n_ratings, 0.0)
        return self.server.apply([*whole.gradients["theta"]], totals)[0]

    def validate(self, users: Tensor) -> Errors:
        """Errors of users (B,) whose ratings here train nothing; raises as Exchange.errors."""
        theta = theta_message(self._shown, self.server.network, self.server.target)
        return self.exchange.errors(dict.fromkeys(users.tolist(), encode(theta)))

    def state(self) -> dict[str, Tensor]:
        own = {f"mapping.{name}": tensor for name, tensor in self.server.nets.state().items()}
        return {**own, **self.exchange.state()}


def theta_message(start: Parameters, network: Parameters, target: DomainModel) -> Message:
    """All that a device is sent."""
    return {
        **{f"{START}{i}": part for i, part in enumerate(start)},
        **{f"{NETWORK}{i}": part.detach() for i, part in enumerate(network)},
        **{f"{TARGET}{name}": part for name, part in broadcast(target).items()},
    }


def theta_answer(own: CarriedUser, message: Message) -> bytes:
    """Device: Algorithm 2, lines 4-7."""
    gradients, totals = own.contribution(message)
    told = torch.tensor([totals.squared_error, totals.n_ratings], dtype=torch.float64)
    return encode({**{f"{NETWORK}{i}": g for i, g in enumerate(gradients)}, "totals": told})


def _answer_form(shapes: tuple[torch.Size, ...]) -> Contract:
    form: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
        f"{NETWORK}{i}": (torch.float32, tuple(shape)) for i, shape in enumerate(shapes)
    }
    return {**form, "totals": (torch.float64, (2,))}


def _named(message: Message, prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): part for n, part in message.items() if n.startswith(prefix)}


def numbered(message: Message, prefix: str) -> Parameters:
    """The tensors ``<prefix>0``, ``<prefix>1`` and so on."""
    found = _named(message, prefix)
    return tuple(found[str(i)] for i in range(len(found)))
