"""Secure rounds in one process, in which everything that passes is bytes, and is counted.

A round has five passages: who takes part and its keys; the model's digest, and shares of secrets
for neighbours; the model and a masked gradient; who arrived, and shares to open the sum; totals.
A device sends no vector unless two thirds of its neighbours were told the same digest: they could
not read each other's shares otherwise.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from cryptography.exceptions import InvalidTag
from torch import Tensor

from metaem_core.federated.exchange import Traffic
from metaem_core.federated.rounds import RoundStats
from metaem_core.federated.secure_aggregation import (
    PublicKeys,
    Revealed,
    SecureDevice,
    TooFewDevices,
    Words,
    opened,
    ring,
    usable,
)
from metaem_core.federated.secure_rounds import (
    LIMIT,
    Closing,
    Coding,
    Totals,
    broadcast,
    shapes_of,
)
from metaem_core.federated.wire import (
    SUM,
    BadMessage,
    Contract,
    Message,
    contract_of,
    decode,
    digest,
    encode,
)
from metaem_core.models.domain import DomainModel

NEIGHBOURS = 32  # of a device, where the cohort has as many
KEYS, SEALED, SHARE = 64, 82, 34  # bytes: two public keys, two encrypted shares, place and share

T = TypeVar("T")
KINDS = tuple(field.name for field in fields(Revealed))


class SecureUser(Protocol):
    """A device between rounds."""

    def contribution(self, message: Message) -> tuple[list[Tensor], Totals]:
        """Its part of the sum, from what everyone was sent."""
        ...

    def close(self, closing: Closing) -> None:
        """The end of a round that it took part in."""
        ...


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
        """One step, and what devices are told of the round."""
        ...


@dataclass
class KeptSum:
    """A server that keeps a sum and steps nothing."""

    shapes: tuple[torch.Size, ...]
    message: Message
    found: list[Tensor] = field(default_factory=list)  # empty before its round

    def broadcast(self) -> Message:
        return self.message

    def apply(self, gradients: list[Tensor], totals: Totals) -> tuple[RoundStats, Closing]:
        self.found = [gradient.double() for gradient in gradients]
        return RoundStats(0.0, 0), Closing(0, 0.0)


class SecureClient:
    """A device in one round: bytes in, bytes out, passage by passage."""

    def __init__(
        self,
        user: SecureUser,
        place: int,
        coding: Coding,
        neighbours: int,
        secrets_: SecureDevice | None = None,
        terms: bytes = b"",
    ) -> None:
        """``place``: its number in the cohort, of which it has ``neighbours``.

        ``secrets_`` are those of a round that is under way already; ``terms`` what it was told of
        the round beside the model.
        """
        self._user, self._coding, self._terms = user, coding, terms
        self.secrets = secrets_ or SecureDevice(place, threshold_of(neighbours))
        self._draw = np.random.default_rng()

    def answer(self, passage: int, messages: Sequence[bytes], form: Contract) -> bytes:
        """One passage, 1 to 5; ``form`` is the only form of model that it reads."""
        if passage == 1:
            return self.keys()
        first, *more = messages
        if passage == 2:
            return self.shares(first, more[0])
        if passage == 3:
            return self.masked(first, more[0], form)
        if passage == 4:
            return self.reveal(first)
        self.close(first)
        return b""

    def keys(self) -> bytes:
        """Up 1: the round's public keys."""
        return encode({"keys": _bytes(b"".join(self.secrets.advertise()))})

    def shares(self, neighbours: bytes, announced: bytes) -> bytes:
        """Neighbours' keys and the model's digest down; up 2: a share of both secrets for each."""
        self.secrets.agreed = digest(self._terms + announced)
        keys = {place: _keys(data) for place, data in _read(neighbours, KEYS).items()}
        return encode(_by_place(self.secrets.share(keys), SEALED))

    def masked(self, sealed: bytes, model: bytes, form: Contract) -> bytes:
        """What neighbours sealed and the round's model down; up 3: the gradient under masks.

        Raises:
            BadMessage: another model than was announced, or than neighbours were told of.
        """
        if digest(self._terms + digest(model)) != self.secrets.agreed:
            raise BadMessage("not the model that was announced")
        gradients, totals = self._user.contribution(decode(model, form))
        words = self._coding.encode(gradients, totals, self._draw)
        try:
            hidden = self.secrets.masked(words, _read(sealed, SEALED))
        except InvalidTag:
            raise BadMessage("neighbours are of another round, or told of another model") from None
        return encode({"words": torch.from_numpy(hidden.view(np.int32))})

    def reveal(self, arrived: bytes) -> bytes:
        """Who arrived down; up 4: one share a neighbour."""
        places = decode(arrived, {"places": (torch.int64, (-1,))})["places"].tolist()
        told = self.secrets.reveal(frozenset(places))
        return encode(_answer(told))

    def close(self, closing: bytes) -> None:
        """The totals down: the device steps its own vector."""
        message = decode(closing, contract_of(_closing(Closing(0, 0.0))))
        self._user.close(Closing(int(message["n_ratings"]), float(message["curvature"])))


class Reach(Protocol):
    """However a cohort's devices are reached."""

    def ask(self, passage: int, messages: Mapping[int, Sequence[bytes]]) -> Mapping[int, bytes]:
        """What devices, by place in the cohort, answer in a passage; the silent ones left out."""
        ...


class SecureRound(NamedTuple):
    """What a round came to, and what a server saw of it."""

    stats: RoundStats
    traffic: list[Traffic]  # by place
    vectors: dict[int, Words]  # masked, by place


def secure_round(
    server: SumServer, reach: Reach, size: int, least: int = 0, limit: float = LIMIT
) -> SecureRound:
    """One round of a cohort of ``size``.

    Args:
        least: vectors that must arrive before a sum may be opened.
        limit: largest number that a device may add.

    Raises:
        TooFewDevices: the round is void.
    """
    degree = degree_of(size)
    coding = Coding(server.shapes, size, limit)
    down, up = np.zeros(size, np.int64), np.zeros(size, np.int64)

    def asked(
        passage: int, messages: Mapping[int, Sequence[bytes]], read: Callable[[int, bytes], T]
    ) -> dict[int, T]:
        """Answers that can be read; whose cannot is as silent as the silent."""
        found = {}
        for place, sent in messages.items():
            down[place] += sum(map(len, sent))
        for place, answer in reach.ask(passage, messages).items():
            up[place] += len(answer)
            with suppress(BadMessage):
                found[place] = read(place, answer)
        return dict(sorted(found.items()))

    def read_keys(place: int, answer: bytes) -> bytes:
        found = decode(answer, {"keys": (torch.uint8, (KEYS,))})["keys"].numpy().tobytes()
        if not all(map(usable, _keys(found))):
            raise BadMessage("a key that agrees with none")
        return found

    def read_sealed(place: int, answer: bytes) -> dict[int, bytes]:
        found = _read(answer, SEALED)
        if found.keys() != graph[place]:
            raise BadMessage("shares for others than the neighbours")
        return found

    def read_words(place: int, answer: bytes) -> Words:
        words = decode(answer, {"words": (torch.int32, (coding.words,))})["words"]
        return words.numpy().view(np.uint32)

    keys = asked(1, {place: () for place in range(size)}, read_keys)
    graph = _neighbours(sorted(keys), degree)
    model = encode(server.broadcast())
    near = {
        place: (encode(_by_place({o: keys[o] for o in others}, KEYS)), digest(model))
        for place, others in graph.items()
    }
    sealed = asked(2, near, read_sealed)
    taking_part = {place: graph[place] & sealed.keys() for place in sealed}
    for_each = {
        place: (encode(_by_place({o: sealed[o][place] for o in others}, SEALED)), model)
        for place, others in taking_part.items()
    }
    vectors = asked(3, for_each, read_words)
    if len(vectors) < least:
        raise TooFewDevices(f"{len(vectors)} devices sent a vector, at least {least} must")
    arrived = {place: (_places(taking_part[place] & vectors.keys()),) for place in vectors}
    revealed = asked(4, arrived, lambda place, answer: _revealed(answer))
    pairs = {place: _keys(data) for place, data in keys.items()}
    total = opened(vectors, taking_part, pairs, revealed, threshold_of(degree))
    stats, closing = server.apply(*coding.decode(total))
    asked(5, dict.fromkeys(vectors, (encode(_closing(closing)),)), lambda place, answer: answer)
    traffic = [Traffic(int(a), int(b)) for a, b in zip(down, up, strict=True)]
    return SecureRound(stats, traffic, vectors)


@dataclass
class _InProcess:
    """Devices of this process, of which some fall silent."""

    clients: Mapping[int, SecureClient]  # by place
    form: Contract
    leaves: Mapping[int, int]  # place -> passage

    def ask(self, passage: int, messages: Mapping[int, Sequence[bytes]]) -> dict[int, bytes]:
        return {
            place: self.clients[place].answer(passage, sent, self.form)
            for place, sent in messages.items()
            if self.leaves.get(place, 6) > passage
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
        """One round of ``cohort``; ``leavers`` fall silent at a passage, 1 to 5.

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
        encode(_by_place(dict.fromkeys(range(near), bytes(width)), width))
        for width in (KEYS, SEALED)
    )
    arrived = _places(range(near))
    sent, closing = encode(broadcast(model)), encode(_closing(Closing(0, 0.0)))
    down = (keys, bytes(SUM), sealed, sent, arrived, closing)
    told = Revealed({place: (1, bytes(SHARE - 2)) for place in range(near)}, {})
    words = encode({"words": torch.zeros(coding.words, dtype=torch.int32)})
    up = (encode({"keys": _bytes(bytes(KEYS))}), sealed, words, encode(_answer(told)))
    return Traffic(sum(map(len, down)), sum(map(len, up)))


def _neighbours(there: list[int], degree: int) -> dict[int, set[int]]:
    """Neighbours of each place where somebody is, ``degree`` of them if so many are there.

    Raises:
        TooFewDevices: not as many as are needed.
    """
    most = min(degree, degree_of(len(there)))
    if most < threshold_of(degree):
        raise TooFewDevices(f"{len(there)} devices are there, {threshold_of(degree) + 1} must be")
    graph = ring(len(there), most, secrets.randbits(63))
    return {there[a]: {there[b] for b in others} for a, others in enumerate(graph)}


def degree_of(devices: int) -> int:
    """How many neighbours a device has in a cohort of ``devices``."""
    return min(NEIGHBOURS, (devices - 1) // 2 * 2)


def threshold_of(neighbours: int) -> int:
    """How many of a device's neighbours must answer: two thirds of them and one."""
    return 2 * neighbours // 3 + 1


def _closing(closing: Closing) -> Message:
    return {
        "n_ratings": torch.tensor(closing.n_ratings, dtype=torch.int64),
        "curvature": torch.tensor(closing.curvature, dtype=torch.float64),
    }


def _answer(told: Revealed) -> Message:
    message: dict[str, torch.Tensor] = {}
    for kind, shares in vars(told).items():
        rows = {place: at.to_bytes(2, "big") + share for place, (at, share) in shares.items()}
        message |= {f"{kind}.{name}": part for name, part in _by_place(rows, SHARE).items()}
    return message


def _revealed(data: bytes) -> Revealed:
    form = {f"{kind}.{name}": shape for kind in KINDS for name, shape in _form(SHARE).items()}
    message = decode(data, form)
    return Revealed(
        *(
            {
                place: (int.from_bytes(row[:2], "big"), row[2:])
                for place, row in _rows(message, f"{kind}.").items()
            }
            for kind in KINDS
        )
    )


def _by_place(rows: Mapping[int, bytes], width: int) -> Message:
    """Strings of ``width`` bytes by place in the cohort."""
    places = sorted(rows)
    data = _bytes(b"".join(rows[place] for place in places))
    return {"places": torch.tensor(places, dtype=torch.int64), "bytes": data.view(-1, width)}


def _places(places: Iterable[int]) -> bytes:
    return encode({"places": torch.tensor(sorted(places), dtype=torch.int64)})


def _form(width: int) -> Contract:
    return {"places": (torch.int64, (-1,)), "bytes": (torch.uint8, (-1, width))}


def _read(data: bytes, width: int) -> dict[int, bytes]:
    return _rows(decode(data, _form(width)), "")


def _rows(message: Message, prefix: str) -> dict[int, bytes]:
    places, rows = message[f"{prefix}places"], message[f"{prefix}bytes"]
    if len(places) != len(rows):
        raise BadMessage(f"{len(places)} places for {len(rows)} strings")
    return {p: row.tobytes() for p, row in zip(places.tolist(), rows.numpy(), strict=True)}


def _keys(data: bytes) -> PublicKeys:
    return PublicKeys(data[: KEYS // 2], data[KEYS // 2 :])


def _bytes(data: bytes) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())
