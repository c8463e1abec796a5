"""Training whose devices are elsewhere: rounds over any link that carries bytes."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from metaem_core.data.ratings import RatingScale
from metaem_core.federated.payloads import Payload
from metaem_core.federated.private import Private
from metaem_core.federated.protocol import Download, Upload, combine
from metaem_core.federated.remote.collection import Collection, Read, RoundVoid
from metaem_core.federated.rounds import RoundStats
from metaem_core.federated.server import PretrainServer
from metaem_core.federated.wire import BadMessage, Contract, Message, contract_of, decode, encode
from metaem_core.models.forward import predict
from metaem_core.training.epochs import Divergence, Errors

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


class Exchange:
    """What a server sends and whom it hears, in rounds and validations; every byte is counted."""

    def __init__(self, link: Link, rules: Rules, items: int, scale: RatingScale) -> None:
        """``items``: of the domain, as many as a device can have rated."""
        self._link, self._rules, self._items = link, rules, items
        self._range = scale.high - scale.low
        self.number = torch.tensor(0)
        # bytes of messages, down and up
        self.trained, self.evaluated = (torch.zeros(2, dtype=torch.long) for _ in range(2))
        self.refused: list[str] = []  # answers that were left out, in words

    def gathered(
        self,
        messages: Mapping[int, bytes],
        counts: Mapping[int, int],
        read: Read,
    ) -> dict[int, Upload]:
        """Send, and wait until all answered or the link gives up; the uploads by device.

        Args:
            counts: how many ratings each device trains on.

        Raises:
            RoundVoid: no quorum, several times.
        """
        for attempt in range(ATTEMPTS):
            heard = self._heard(messages)
            open_ = Collection(int(self.number), read, counts, self._rules.largest)
            for answer in heard:
                if (why := open_.take(*answer)) is not None:
                    self.refused.append(why)
            try:
                return open_.close(self._rules.quorum)
            except RoundVoid:
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("the last attempt either returns or raises")

    def passage(self, messages: Mapping[int, bytes]) -> dict[int, bytes]:
        """Send, and wait as :meth:`gathered`; the first answer of each device, unread."""
        found: dict[int, bytes] = {}
        for answer in self._heard(messages):
            if answer.round == int(self.number) and answer.device in messages:
                found.setdefault(answer.device, answer.message)
        return found

    def _heard(self, messages: Mapping[int, bytes]) -> Iterator[Answer]:
        """Begin another round, to which what still comes of an earlier one does not belong."""
        self.number += 1
        self.trained += torch.tensor([sum(map(len, messages.values())), 0])
        return self._counted(self._link.train(int(self.number), messages))

    def _counted(self, answers: Iterable[Answer]) -> Iterator[Answer]:
        for answer in answers:
            self.trained += torch.tensor([0, len(answer.message)])
            yield answer

    @property
    def quorum(self) -> float:
        """Share of a cohort that must answer."""
        return self._rules.quorum

    def errors(self, messages: Mapping[int, bytes]) -> Errors:
        """The errors that devices find on ratings which do not train.

        Raises:
            RoundVoid: no quorum, several times.
            Divergence: enough told them, and they are not such as ratings can have.
            ValueError: none of them keeps any.
        """
        told: dict[int, Tensor] = {}
        heard: set[int] = set()
        for _ in range(ATTEMPTS):
            waiting = {d: message for d, message in messages.items() if d not in told}
            self.evaluated += torch.tensor([sum(map(len, waiting.values())), 0])
            for answer in self._link.evaluate(int(self.number), waiting):
                self.evaluated += torch.tensor([0, len(answer.message)])
                heard.add(answer.device)
                if (errors := self._errors(answer, waiting)) is not None:
                    told.setdefault(answer.device, errors)
            if len(told) >= self._rules.quorum * len(messages):
                break
        else:
            why = f"{len(told)} of {len(messages)} devices told their errors"
            spoilt = len(heard & messages.keys()) >= self._rules.quorum * len(messages)
            raise Divergence(f"training diverged: {why}") if spoilt else RoundVoid(why)
        absolute, squared, count = torch.stack([*told.values()]).sum(0).tolist()
        if not count:
            raise ValueError("no device within reach keeps ratings out of training to stop by")
        return Errors(absolute / count, (squared / count) ** 0.5)

    def _errors(self, answer: Answer, waiting: Mapping[int, bytes]) -> Tensor | None:
        """A device's sums, if they are such as ratings of this scale can have."""
        try:
            errors = decode(answer.message, contract_of(_told(0.0, 0.0, 0)))["errors"]
        except BadMessage as error:
            self.refused.append(f"device {answer.device}: {error}")
            return None
        absolute, squared, count = errors.tolist()
        if (
            answer.device in waiting
            and answer.round == int(self.number)
            and count in range(self._items + 1)
            and 0 <= absolute <= count * self._range
            and 0 <= squared <= count * self._range**2
        ):
            return errors
        self.refused.append(f"device {answer.device}: errors that its ratings cannot have")
        return None

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold of it."""
        return dict(zip(OWN, (self.number, self.trained, self.evaluated), strict=True))


class RemoteRounds:
    """Rounds of stage 1: every device is sent its own message, and steps follow who answered."""

    def __init__(
        self, server: PretrainServer, exchange: Exchange, payload: Payload, of_user: Tensor
    ) -> None:
        """``of_user`` (m,): how many ratings each device trains on."""
        if payload.names_items:
            raise ValueError("over a link a device is sent all items: use product or literal")
        self.server, self.exchange = server, exchange
        self._payload, self._of_user = payload, of_user
        self._everything = torch.arange(len(server.model.common_items))

    def round(self, cohort: Tensor) -> RoundStats:
        """Algorithm 1, lines 5-12, for those who answered; nothing of the others moves.

        Raises:
            RoundVoid: no quorum, several times; nothing was changed.
        """
        download = self.server.download(cohort, self._everything)
        sent = self._sent(download, cohort)
        contracts = {d: self._payload.answer_contract(one) for d, one in sent.items()}

        def read(device: int, answer: bytes) -> Upload:
            return self._payload.gradients(decode(answer, contracts[device]), sent[device])

        counts = dict(zip(sent, self._of_user[cohort].tolist(), strict=True))
        uploads = self.exchange.gathered(self._packed(sent), counts, read)
        upload = combine([*uploads.values()], download.per_device)
        answered = torch.tensor([*uploads])
        if len(answered) < len(cohort):
            download = self.server.download(answered, self._everything)
        (items,) = upload.gradients["common_items"]
        touched = items.any(1).nonzero().flatten()  # rows that nobody rated do not move
        found = {**upload.gradients, "common_items": (items.index_select(0, touched),)}
        self.server.apply(download, replace(upload, gradients=found), answered, touched)
        return RoundStats(upload.squared_error, upload.n_ratings)

    def validate(self, users: Tensor) -> Errors:
        """Errors on the ratings that the devices of ``users`` keep; raises as Exchange.errors."""
        download = self.server.download(users, self._everything)
        return self.exchange.errors(self._packed(self._sent(download, users)))

    def _sent(self, download: Download, devices: Tensor) -> dict[int, Download]:
        return {d: download.of_device(place) for place, d in enumerate(devices.tolist())}

    def _packed(self, sent: Mapping[int, Download]) -> dict[int, bytes]:
        return {device: encode(self._payload.pack(one)) for device, one in sent.items()}

    def state(self) -> dict[str, Tensor]:
        return {**self.server.state(), **self.exchange.state()}


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
    return summed_errors(predict(received, torch.zeros_like(items), items), values, scale)


def summed_errors(predicted: Tensor, values: Tensor, scale: RatingScale) -> bytes:
    """Device: what it tells of its errors (R,)."""
    error = predicted.clamp(scale.low, scale.high) - values
    return encode(_told(float(error.abs().sum()), float(error.square().sum()), len(values)))


def _told(absolute: float, squared: float, count: int) -> Message:
    return {"errors": torch.tensor([absolute, squared, count], dtype=torch.float64)}
