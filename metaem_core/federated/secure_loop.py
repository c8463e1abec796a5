"""Secure rounds in one process, in which everything that passes is bytes, and is counted.

A round has five passages: who takes part and its keys; shares of secrets, for neighbours; the model
and a masked gradient; who arrived, and shares to open the sum; the totals.
"""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Protocol

import numpy as np
import torch
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
)
from metaem_core.federated.secure_rounds import (
    LIMIT,
    Closing,
    Coding,
    Totals,
    broadcast,
    shapes_of,
)
from metaem_core.federated.wire import BadMessage, Contract, Message, contract_of, decode, encode
from metaem_core.models.domain import DomainModel

NEIGHBOURS = 32  # of a device, where the cohort has as many
KEYS, SEALED, SHARE = 64, 82, 34  # bytes: two public keys, two encrypted shares, place and share

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


class SecureClient:
    """A device in one round: bytes in, bytes out, passage by passage."""

    def __init__(self, user: SecureUser, place: int, coding: Coding, neighbours: int) -> None:
        """``place``: its number in the cohort, of which it has ``neighbours``."""
        self._user, self._coding = user, coding
        self._secrets = SecureDevice(place, threshold_of(neighbours))
        self._draw = np.random.default_rng()

    def keys(self) -> bytes:
        """Up 1: the round's public keys."""
        return encode({"keys": _bytes(b"".join(self._secrets.advertise()))})

    def shares(self, neighbours: bytes) -> bytes:
        """Neighbours' keys down; up 2: shares of both secrets, each for one of them."""
        keys = {place: _keys(data) for place, data in _read(neighbours, KEYS).items()}
        return encode(_by_place(self._secrets.share(keys), SEALED))

    def masked(self, sealed: bytes, model: bytes, form: Contract) -> bytes:
        """What neighbours sealed and the round's model down; up 3: the gradient under masks."""
        gradients, totals = self._user.contribution(decode(model, form))
        words = self._coding.encode(gradients, totals, self._draw)
        hidden = self._secrets.masked(words, _read(sealed, SEALED))
        return encode({"words": torch.from_numpy(hidden.view(np.int32))})

    def reveal(self, arrived: bytes) -> bytes:
        """Who arrived down; up 4: one share a neighbour."""
        places = decode(arrived, {"places": (torch.int64, (-1,))})["places"].tolist()
        told = self._secrets.reveal(frozenset(places))
        return encode(_answer(told))

    def close(self, closing: bytes) -> None:
        """The totals down: the device steps its own vector."""
        message = decode(closing, contract_of(_closing(Closing(0, 0.0))))
        self._user.close(Closing(int(message["n_ratings"]), float(message["curvature"])))


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
        gone = leavers or {}
        size = len(cohort)
        degree = degree_of(size)
        threshold, coding = threshold_of(degree), Coding(self.server.shapes, size, self.limit)
        graph = ring(size, degree, secrets.randbits(63))
        clients = {
            place: SecureClient(self.users[device], place, coding, degree)
            for place, device in enumerate(cohort)
        }
        down, up = np.zeros(size, np.int64), np.zeros(size, np.int64)

        def there(passage: int, places: Iterable[int]) -> list[int]:
            return [p for p in places if gone.get(cohort[p], 6) > passage]

        def asked(place: int, *messages: bytes) -> None:
            down[place] += sum(map(len, messages))

        def told(place: int, message: bytes) -> bytes:
            up[place] += len(message)
            return message

        keys = {}
        for place in there(1, clients):
            answer = decode(told(place, clients[place].keys()), {"keys": (torch.uint8, (KEYS,))})
            keys[place] = answer["keys"].numpy().tobytes()
        sealed: dict[int, dict[int, bytes]] = {}
        for place in there(2, keys):
            near = encode(_by_place({o: keys[o] for o in graph[place] & keys.keys()}, KEYS))
            asked(place, near)
            sealed[place] = _read(told(place, clients[place].shares(near)), SEALED)
        taking_part = {place: graph[place] & sealed.keys() for place in sealed}
        model = self.server.broadcast()
        form = contract_of(model)
        sent = encode(model)
        vectors: dict[int, Words] = {}
        for place in there(3, sealed):
            for_it = encode(_by_place({o: sealed[o][place] for o in taking_part[place]}, SEALED))
            asked(place, for_it, sent)
            hidden = told(place, clients[place].masked(for_it, sent, form))
            words = decode(hidden, {"words": (torch.int32, (coding.words,))})["words"]
            vectors[place] = words.numpy().view(np.uint32)
        if len(vectors) < self.least:
            raise TooFewDevices(f"{len(vectors)} devices sent a vector, at least {self.least} must")
        revealed = {}
        for place in there(4, vectors):
            here = sorted(taking_part[place] & vectors.keys())
            arrived = encode({"places": torch.tensor(here, dtype=torch.int64)})
            asked(place, arrived)
            revealed[place] = _revealed(told(place, clients[place].reveal(arrived)))
        pairs = {place: _keys(data) for place, data in keys.items()}
        total = opened(vectors, taking_part, pairs, revealed, threshold)
        stats, closing = self.server.apply(*coding.decode(total))
        last = encode(_closing(closing))
        for place in there(5, vectors):
            asked(place, last)
            clients[place].close(last)
        self.traffic = [Traffic(int(a), int(b)) for a, b in zip(down, up, strict=True)]
        self.vectors = {cohort[place]: words for place, words in vectors.items()}
        return stats


def secure_traffic(model: DomainModel, devices: int) -> Traffic:
    """Bytes of one device's round when a cohort of ``devices`` is complete, from its messages."""
    near = degree_of(devices)
    coding = Coding(shapes_of(model), devices)
    keys, sealed = (
        encode(_by_place(dict.fromkeys(range(near), bytes(width)), width))
        for width in (KEYS, SEALED)
    )
    arrived = encode({"places": torch.zeros(near, dtype=torch.int64)})
    down = (keys, sealed, encode(broadcast(model)), arrived, encode(_closing(Closing(0, 0.0))))
    told = Revealed({place: (1, bytes(SHARE - 2)) for place in range(near)}, {})
    words = encode({"words": torch.zeros(coding.words, dtype=torch.int32)})
    up = (encode({"keys": _bytes(bytes(KEYS))}), sealed, words, encode(_answer(told)))
    return Traffic(sum(map(len, down)), sum(map(len, up)))


def degree_of(devices: int) -> int:
    """How many neighbours a device has in a cohort of ``devices``."""
    return min(NEIGHBOURS, (devices - 1) // 2 * 2)


def threshold_of(neighbours: int) -> int:
    """How many of a device's neighbours must answer: two thirds, so that a third may leave."""
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
