"""What a server sends to devices elsewhere, and which of their answers count."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from metaem_core.data.ratings import RatingScale
from metaem_core.federated.encoding import (
    BadMessage,
    decode,
)
from metaem_core.federated.messages import Upload
from metaem_core.federated.remote.collection import Collection, Read, RoundVoid
from metaem_core.federated.remote.device import ERRORS
from metaem_core.training.epochs import Divergence, Errors

OWN = ("round", "trained", "evaluated")  # in a checkpoint, beside what the simulation has
ATTEMPTS = 3  # at a round
T = TypeVar("T")


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


Ask = Callable[[int, Mapping[int, bytes]], Iterable[Answer]]  # a method of a link


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

        def once() -> dict[int, Upload]:
            heard = self._heard(messages)
            open_ = Collection(int(self.number), read, counts, self._rules.largest)
            self.refused += filter(None, (open_.take(*answer) for answer in heard))
            return open_.close(self._rules.quorum)

        return attempted(once)

    def phase(self, messages: Mapping[int, bytes]) -> dict[int, bytes]:
        """Send, and wait as :meth:`gathered`; the first answer of each device, unread."""
        first: dict[int, bytes] = {}
        for answer in self._heard(messages):
            if answer.round == int(self.number) and answer.device in messages:
                first.setdefault(answer.device, answer.message)
        return first

    def _heard(self, messages: Mapping[int, bytes]) -> Iterator[Answer]:
        """Begin another round, to which what still comes of an earlier one does not belong."""
        self.number += 1
        return self._counted(self._link.train, messages, self.trained)

    def _counted(
        self, ask: Ask, messages: Mapping[int, bytes], traffic: Tensor
    ) -> Iterator[Answer]:
        traffic[0] += sum(map(len, messages.values()))
        for answer in ask(int(self.number), messages):
            traffic[1] += len(answer.message)
            yield answer

    @property
    def quorum(self) -> float:
        """Share of a cohort that must answer."""
        return self._rules.quorum

    def errors(self, messages: Mapping[int, bytes]) -> Errors:
        """The errors that devices find on ratings which do not train.

        Raises:
            RoundVoid: no quorum, several times.
            Divergence: enough devices answered, with errors that no ratings can have.
            ValueError: none of them keeps any.
        """
        sums: dict[int, Tensor] = {}
        heard: set[int] = set()
        for _ in range(ATTEMPTS):
            waiting = {d: message for d, message in messages.items() if d not in sums}
            for answer in self._counted(self._link.evaluate, waiting, self.evaluated):
                heard.add(answer.device)
                if (errors := self._errors(answer, waiting)) is not None:
                    sums.setdefault(answer.device, errors)
            if len(sums) >= self._rules.quorum * len(messages):
                break
        else:
            why = f"{len(sums)} of {len(messages)} devices sent their errors"
            spoilt = len(heard & messages.keys()) >= self._rules.quorum * len(messages)
            raise Divergence(f"training diverged: {why}") if spoilt else RoundVoid(why)
        absolute, squared, count = torch.stack([*sums.values()]).sum(0).tolist()
        if not count:
            raise ValueError("no device within reach keeps ratings out of training to stop by")
        return Errors(absolute / count, (squared / count) ** 0.5)

    def _errors(self, answer: Answer, waiting: Mapping[int, bytes]) -> Tensor | None:
        """A device's sums, if they are such as ratings of this scale can have."""
        try:
            errors = decode(answer.message, ERRORS)["errors"]
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


def attempted(once: Callable[[], T]) -> T:
    """A round, repeated while it is void; raises RoundVoid if it is every time."""
    for _ in range(ATTEMPTS - 1):
        with suppress(RoundVoid):
            return once()
    return once()
