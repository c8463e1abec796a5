"""Secure rounds over a link: what passes, and how a server asks for it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metaem_core.federated.encoding import BadMessage, decode, encode
from metaem_core.federated.remote.collection import RoundVoid
from metaem_core.federated.remote.exchange import Exchange, attempted
from metaem_core.federated.rounds import RoundStats
from metaem_core.federated.secure.coding import LIMIT
from metaem_core.federated.secure.primitives import TooFewDevices
from metaem_core.federated.secure.server import SumServer, secure_round

LEAST = 3  # devices that hide one among them
PARTS = ("first", "second")  # of what is sent in one phase
FORM = {
    "where": (torch.int64, (4,)),
    "limit": (torch.float64, ()),
    **{part: (torch.uint8, (-1,)) for part in PARTS},
}


@dataclass(frozen=True)
class PhaseMessage:
    """One message of a secure round, as a device reads it."""

    sum: int  # which, where a job has several
    phase: int
    place: int
    size: int
    limit: float
    messages: tuple[bytes, ...]

    @property
    def terms(self) -> tuple[int, int, float]:
        """What is the same for all devices and phases of a round."""
        return self.sum, self.size, self.limit

    def encoded(self) -> bytes:
        """As it travels."""
        parts = [*self.messages, b"", b""][: len(PARTS)]
        where = torch.tensor([self.sum, self.phase, self.place, self.size])
        limit = torch.tensor(self.limit, dtype=torch.float64)
        read = {
            name: torch.from_numpy(np.frombuffer(part, np.uint8).copy())
            for name, part in zip(PARTS, parts, strict=True)
        }
        return encode({"where": where, "limit": limit, **read})

    @classmethod
    def decoded(cls, data: bytes) -> "PhaseMessage":
        """Raises BadMessage for anything else."""
        fields = decode(data, FORM)
        which, phase, place, size = fields["where"].tolist()
        if not (1 <= phase <= 5 and 0 <= place < size and size >= LEAST):
            raise BadMessage(f"no phase {phase} at place {place} of {size}")
        parts = tuple(fields[part].numpy().tobytes() for part in PARTS)
        return cls(which, phase, place, size, float(fields["limit"]), parts)


class RoundSpoilt(RoundVoid):
    """Devices are there and take part, and yet there is no sum: what they are sent cannot be."""


def linked_round(
    server: SumServer, exchange: Exchange, cohort: Sequence[int], limit: float, which: int = 0
) -> RoundStats:
    """One secure round over a link.

    Raises:
        RoundVoid: too few answered, several times; nothing was changed.
        RoundSpoilt: enough did, and there is no sum.
    """
    size, there = len(cohort), 0
    least = math.ceil(exchange.quorum * size)

    def ask(phase: int, messages: Mapping[int, Sequence[bytes]]) -> dict[int, bytes]:
        nonlocal there
        sent = {
            cohort[place]: PhaseMessage(which, phase, place, size, limit, tuple(parts)).encoded()
            for place, parts in messages.items()
        }
        answers = exchange.phase(sent)
        there = len(answers) if phase == 1 else there
        return {place: answers[cohort[place]] for place in messages if cohort[place] in answers}

    def once() -> RoundStats:
        try:
            return secure_round(server, ask, size, least, limit).stats
        except TooFewDevices as error:
            void = RoundSpoilt if there >= least else RoundVoid
            raise void(f"a round of {size} devices: {error}") from None

    return attempted(once)


@dataclass(frozen=True)
class LinkedRounds:
    """Secure rounds of devices that are elsewhere."""

    server: SumServer
    exchange: Exchange

    def round(self, cohort: Tensor) -> RoundStats:
        """The sums of those who answered; raises as :func:`linked_round`."""
        return linked_round(self.server, self.exchange, cohort.tolist(), LIMIT)

    def state(self) -> dict[str, Tensor]:
        """What the exchange counts."""
        return self.exchange.state()
