"""Training whose devices are elsewhere: rounds over any link that carries bytes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from metaem_core.federated.collection import Collection, RoundVoid
from metaem_core.federated.device import predict
from metaem_core.federated.payloads import Payload
from metaem_core.federated.protocol import Download, Upload
from metaem_core.federated.rounds import RoundStats
from metaem_core.federated.server import PretrainServer
from metaem_core.federated.training import Errors
from metaem_core.federated.wire import BadMessage, Contract, Message, contract_of, decode, encode
from metaem_core.privacy.private import Private
from metaem_core.ratings import RatingScale

OWN = ("round", "trained", "evaluated")  # in a checkpoint, beside what the simulation has
ATTEMPTS = 3  # at a round


class Answer(NamedTuple):
    """What came back from one device."""

    round: int
    device: int
    message: bytes


class Link(Protocol):
    """Carries messages to devices. It may lose, repeat, delay and garble what they answer."""

    def train(self, number: int, messages: Mapping[int, bytes]) -> Iterable[Answer]:
        """Each device's message of round ``number``, and what comes back while it is waited for."""
        ...

    def evaluate(self, number: int, messages: Mapping[int, bytes]) -> Iterable[Answer]:
        """The same for the devices' own held-out ratings."""
        ...


class Rules(NamedTuple):
    """When a round counts."""

    quorum: float  # share of a cohort that must answer
    largest: float  # norm of a device's gradient beyond which it is left out


class RemoteRounds:
    """What a server sends, whom it hears, and the step that follows."""

    def __init__(
        self,
        server: PretrainServer,
        link: Link,
        payload: Payload,
        rules: Rules,
        of_user: Tensor,
        scale: RatingScale,
    ) -> None:
        """``of_user`` (m,): how many ratings each device trains on."""
        if payload.names_items:
            raise ValueError("over a link a device is sent all items: use product or literal")
        self.server, self._link, self._payload, self._rules = server, link, payload, rules
        self._of_user, self._range = of_user, scale.high - scale.low
        self.number = torch.tensor(0)
        # bytes of messages, down and up
        self.trained, self.evaluated = (torch.zeros(2, dtype=torch.long) for _ in range(2))
        self.refused: list[str] = []  # answers that were left out, in words
        self._everything = torch.arange(len(server.model.common_items))

    def round(self, cohort: Tensor) -> RoundStats:
        """Send, wait until all answered or the link gives up, and step by those who answered.

        Raises:
            RoundVoid: no quorum, several times; nothing was changed.
        """
        download = self.server.download(cohort, self._everything)
        for attempt in range(ATTEMPTS):
            try:
                answered, upload = self._gathered(download, cohort)
                break
            except RoundVoid:
                if attempt == ATTEMPTS - 1:
                    raise
        self._step(download, upload, cohort, answered)
        return RoundStats(upload.squared_error, upload.n_ratings)

    def _gathered(self, download: Download, cohort: Tensor) -> tuple[Tensor, Upload]:
        self.number += 1  # what still comes of an earlier attempt is another round's
        number, devices = int(self.number), cohort.tolist()
        sent = {device: download.of_device(place) for place, device in enumerate(devices)}
        counts = dict(zip(devices, self._of_user[cohort].tolist(), strict=True))
        open_ = Collection(number, sent, counts, self._payload, self._rules.largest)
        messages = {device: encode(self._payload.pack(one)) for device, one in sent.items()}
        down, up = sum(map(len, messages.values())), 0
        for answer in self._link.train(number, messages):
            up += len(answer.message)
            if (why := open_.take(*answer)) is not None:
                self.refused.append(why)
        self.trained += torch.tensor([down, up])
        return open_.close(self._rules.quorum)

    def _step(self, download: Download, upload: Upload, cohort: Tensor, answered: Tensor) -> None:
        """Of the others nothing is known and nothing moves."""
        if len(answered) < len(cohort):
            download = self.server.download(answered, self._everything)
        (items,) = upload.gradients["common_items"]
        touched = items.any(1).nonzero().flatten()  # rows that nobody rated do not move
        found = {**upload.gradients, "common_items": (items.index_select(0, touched),)}
        self.server.apply(download, replace(upload, gradients=found), answered, touched)

    def validate(self, users: Tensor) -> Errors:
        """Errors on the ratings that the devices of ``users`` keep out of training.

        Raises:
            RoundVoid: no quorum, several times.
            ValueError: none of them keeps any.
        """
        download = self.server.download(users, self._everything)
        messages = {
            device: encode(self._payload.pack(download.of_device(place)))
            for place, device in enumerate(users.tolist())
        }
        told: dict[int, Tensor] = {}
        for _ in range(ATTEMPTS):
            waiting = {d: message for d, message in messages.items() if d not in told}
            self.evaluated += torch.tensor([sum(map(len, waiting.values())), 0])
            for answer in self._link.evaluate(int(self.number), waiting):
                self.evaluated += torch.tensor([0, len(answer.message)])
                if (errors := self._errors(answer, waiting)) is not None:
                    told.setdefault(answer.device, errors)
            if len(told) >= self._rules.quorum * len(messages):
                break
        else:
            raise RoundVoid(f"{len(told)} of {len(messages)} devices told their errors")
        absolute, squared, count = torch.stack([*told.values()]).sum(0).tolist()
        if not count:
            raise ValueError("no device within reach keeps ratings out of training to stop by")
        return Errors(absolute / count, (squared / count) ** 0.5)

    def _errors(self, answer: Answer, waiting: Mapping[int, bytes]) -> Tensor | None:
        """A device's sums, if they are such as ratings of this scale can have."""
        try:
            errors = decode(answer.message, contract_of(_errors(0.0, 0.0, 0)))["errors"]
        except BadMessage as error:
            self.refused.append(f"device {answer.device}: {error}")
            return None
        absolute, squared, count = errors.tolist()
        most = len(self.server.model.common_items)
        if (
            answer.device in waiting
            and answer.round == int(self.number)
            and count in range(most + 1)
            and 0 <= absolute <= count * self._range
            and 0 <= squared <= count * self._range**2
        ):
            return errors
        self.refused.append(f"device {answer.device}: errors that its ratings cannot have")
        return None

    def state(self) -> dict[str, Tensor]:
        own = zip(OWN, (self.number, self.trained, self.evaluated), strict=True)
        return {**self.server.state(), **dict(own)}


@dataclass(frozen=True, repr=False)
class StoredUser(Private):
    """One domain's ratings as their device keeps them."""

    items: Tensor  # (R,)
    values: Tensor  # (R,)
    held: Tensor  # (R,) whether a rating is kept out of training


def told_errors(
    message: bytes,
    contract: Contract,
    own: StoredUser,
    payload: Payload,
    relu_last: bool,
    scale: RatingScale,
) -> bytes:
    """Device: sums of its absolute and squared errors on the ratings it keeps out of training."""
    received = payload.unpack(decode(message, contract), relu_last)
    items, values = own.items[own.held], own.values[own.held]
    predicted = predict(received, torch.zeros_like(items), items).clamp(scale.low, scale.high)
    error = predicted - values
    return encode(_errors(float(error.abs().sum()), float(error.square().sum()), len(items)))


def _errors(absolute: float, squared: float, count: int) -> Message:
    return {"errors": torch.tensor([absolute, squared, count], dtype=torch.float64)}
