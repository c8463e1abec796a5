"""Secure rounds in one process, in which everything that passes is bytes, and is counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from metaem_core.federated.encoding import SUM, Contract, Traffic, contract_of, encode
from metaem_core.federated.rounds import RoundStats
from metaem_core.federated.secure.aggregation import Revealed
from metaem_core.federated.secure.coding import LIMIT, Closing, Coding
from metaem_core.federated.secure.device import SecureClient, SecureUser, degree_of
from metaem_core.federated.secure.messages import (
    KEYS,
    SEALED,
    SHARE,
    by_place_message,
    closing_message,
    keys_message,
    places_message,
    revealed_message,
    words_message,
)
from metaem_core.federated.secure.pretraining import broadcast, shapes_of
from metaem_core.federated.secure.primitives import Words
from metaem_core.federated.secure.server import SumServer, secure_round
from metaem_core.models.metaem import DomainModel


@dataclass
class _InProcess:
    """Devices of this process, of which some fall silent."""

    clients: Mapping[int, SecureClient]  # by place
    form: Contract
    leaves: Mapping[int, int]  # place -> phase

    def ask(self, phase: int, messages: Mapping[int, Sequence[bytes]]) -> dict[int, bytes]:
        return {
            place: self.clients[place].answer(phase, sent, self.form)
            for place, sent in messages.items()
            if self.leaves.get(place, 6) > phase
        }


@dataclass
class SecureLoop:
    """A server and its devices, one round a call; what a server sees is kept to be looked at."""

    server: SumServer
    users: Mapping[int, SecureUser]
    least: int = 0  # vectors that must arrive before a sum may be opened
    limit: float = LIMIT  # largest number that a device may add
    traffic: list[Traffic] = field(default_factory=list)  # by device of the last round
    vectors: dict[int, Words] = field(default_factory=dict)  # masked, by device, of the last round

    def round(self, cohort: list[int], leavers: Mapping[int, int] | None = None) -> RoundStats:
        """One round of ``cohort``; ``leavers`` fall silent at a phase, 1 to 5.

        Raises:
            TooFewDevices: the round is void.
        """
        size, gone = len(cohort), leavers or {}
        coding = Coding(self.server.shapes, size, self.limit)
        clients = {
            place: SecureClient(self.users[device], place, coding, degree_of(size))
            for place, device in enumerate(cohort)
        }
        leaves = {place: gone[device] for place, device in enumerate(cohort) if device in gone}
        reach = _InProcess(clients, contract_of(self.server.broadcast()), leaves)
        done = secure_round(self.server, reach, size, self.least, self.limit)
        self.traffic = done.traffic
        self.vectors = {cohort[place]: words for place, words in done.vectors.items()}
        return done.stats


def secure_traffic(model: DomainModel, devices: int) -> Traffic:
    """Bytes of one device's round when a cohort of ``devices`` is complete, from its messages."""
    near = degree_of(devices)
    coding = Coding(shapes_of(model), devices)
    keys, sealed = (
        by_place_message(dict.fromkeys(range(near), bytes(width)), width)
        for width in (KEYS, SEALED)
    )
    arrived = places_message(range(near))
    sent, closing = encode(broadcast(model)), closing_message(Closing(0, 0.0))
    down = (keys, bytes(SUM), sealed, sent, arrived, closing)
    revealed = Revealed({place: (1, bytes(SHARE - 2)) for place in range(near)}, {})
    words = words_message(np.zeros(coding.words, np.uint32))
    up = (keys_message(bytes(KEYS)), sealed, words, revealed_message(revealed))
    return Traffic(sum(map(len, down)), sum(map(len, up)))
