"""The server's half of a secure round.

A round has five phases: who takes part and its keys; the model's digest, and shares of secrets
for neighbours; the model and a masked gradient; who arrived, and shares to open the sum; totals.
A device sends no vector unless two thirds of its neighbours received the same digest: they could
not read each other's shares otherwise.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from metaem_core.federated.encoding import BadMessage, Message, digest, encode
from metaem_core.federated.rounds import RoundStats
from metaem_core.federated.secure.aggregation import opened, ring
from metaem_core.federated.secure.coding import LIMIT, Closing, Coding, Totals
from metaem_core.federated.secure.device import degree_of, threshold_of
from metaem_core.federated.secure.messages import (
    KEYS,
    SEALED,
    by_place_message,
    closing_message,
    places_message,
    read_by_place,
    read_keys,
    read_revealed,
    read_words,
)
from metaem_core.federated.secure.primitives import TooFewDevices, Words

T = TypeVar("T")
Graph = dict[int, set[int]]  # neighbours by place
# what devices, by place in the cohort, answer in a phase to messages; the silent ones left out
Ask = Callable[[int, Mapping[int, Sequence[bytes]]], Mapping[int, bytes]]


class SumServer(Protocol):
    """A server that steps by sums."""

    @property
    def shapes(self) -> tuple[torch.Size, ...]:
        """Of the gradients that are summed."""
        ...

    def broadcast(self) -> Message:
        """What every device is sent."""
        ...

    def apply(self, gradients: list[Tensor], totals: Totals) -> tuple[RoundStats, Closing]:
        """One step, and what devices learn of the round."""
        ...


@dataclass
class KeptSum:
    """A server that keeps a sum and steps nothing."""

    shapes: tuple[torch.Size, ...]
    message: Message
    sums: list[Tensor] = field(default_factory=list)  # empty before its round

    def broadcast(self) -> Message:
        return self.message

    def apply(self, gradients: list[Tensor], totals: Totals) -> tuple[RoundStats, Closing]:
        self.sums = [gradient.double() for gradient in gradients]
        return RoundStats(0.0, 0), Closing(0, 0.0)


class SecureRound(NamedTuple):
    """What a round came to, and what a server saw of it."""

    stats: RoundStats
    vectors: dict[int, Words]  # masked, by place


def secure_round(
    server: SumServer, ask: Ask, size: int, least: int = 0, limit: float = LIMIT
) -> SecureRound:
    """One round of a cohort of ``size``.

    Args:
        least: vectors that must arrive before a sum may be opened.
        limit: largest number that a device may add.

    Raises:
        TooFewDevices: the round is void.
    """
    coding, answers = Coding(server.shapes, size, limit), partial(_answers, ask)
    keys = answers(1, {place: () for place in range(size)}, lambda _, data: read_keys(data))
    graph, model = _neighbours(sorted(keys), degree_of(size)), encode(server.broadcast())
    near = {
        place: (by_place_message({o: keys[o] for o in others}, KEYS), digest(model))
        for place, others in graph.items()
    }
    sealed = answers(2, near, partial(_read_sealed, graph))
    taking_part = {place: graph[place] & sealed.keys() for place in sealed}
    for_each = {
        place: (by_place_message({o: sealed[o][place] for o in others}, SEALED), model)
        for place, others in taking_part.items()
    }
    vectors = answers(3, for_each, lambda _, data: read_words(data, coding.words))
    if len(vectors) < least:
        raise TooFewDevices(f"{len(vectors)} devices sent a vector, at least {least} must")
    arrived = {place: (places_message(taking_part[place] & vectors.keys()),) for place in vectors}
    revealed = answers(4, arrived, lambda _, data: read_revealed(data))
    total = opened(vectors, taking_part, keys, revealed, threshold_of(degree_of(size)))
    stats, closing = server.apply(*coding.decode(total))
    answers(5, dict.fromkeys(vectors, (closing_message(closing),)), lambda _, data: data)
    return SecureRound(stats, vectors)


def _answers(
    ask: Ask,
    phase: int,
    messages: Mapping[int, Sequence[bytes]],
    read: Callable[[int, bytes], T],
) -> dict[int, T]:
    """Answers that can be read, by place; whose cannot is as silent as the silent."""
    readable = {}
    for place, answer in sorted(ask(phase, messages).items()):
        with suppress(BadMessage):
            readable[place] = read(place, answer)
    return readable


def _read_sealed(graph: Graph, place: int, answer: bytes) -> dict[int, bytes]:
    shares = read_by_place(answer, SEALED)
    if shares.keys() != graph[place]:
        raise BadMessage("shares for others than the neighbours")
    return shares


def _neighbours(there: list[int], degree: int) -> Graph:
    """Neighbours of each place where somebody is, ``degree`` of them if so many are there.

    Raises:
        TooFewDevices: not as many as are needed.
    """
    most = min(degree, degree_of(len(there)))
    if most < threshold_of(degree):
        raise TooFewDevices(f"{len(there)} devices are there, {threshold_of(degree) + 1} must be")
    graph = ring(len(there), most, secrets.randbits(63))
    return {there[a]: {there[b] for b in others} for a, others in enumerate(graph)}
