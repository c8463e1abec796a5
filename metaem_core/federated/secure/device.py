"""A device's half of a secure round."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from cryptography.exceptions import InvalidTag
from torch import Tensor

from metaem_core.federated.encoding import BadMessage, Contract, Message, decode, digest
from metaem_core.federated.secure.aggregation import SecureDevice
from metaem_core.federated.secure.coding import Closing, Coding, Totals
from metaem_core.federated.secure.messages import (
    KEYS,
    SEALED,
    by_place_message,
    keys_message,
    read_by_place,
    read_closing,
    read_places,
    revealed_message,
    words_message,
)

NEIGHBOURS = 32  # of a device, where the cohort has as many


class SecureUser(Protocol):
    """A device between rounds."""

    def contribution(self, message: Message) -> tuple[list[Tensor], Totals]:
        """Its part of the sum, from what everyone was sent."""
        ...

    def close(self, closing: Closing) -> None:
        """The end of a round that it took part in."""
        ...


class SecureClient:
    """A device in one round: bytes in, bytes out, phase by phase."""

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

        ``secrets_`` are those of a round that is under way already; ``terms`` what it received of
        the round beside the model.
        """
        self._user, self._coding, self._terms = user, coding, terms
        self.secrets = secrets_ or SecureDevice(place, threshold_of(neighbours))
        self._draw, self._sent = np.random.default_rng(), False

    def answer(self, phase: int, messages: Sequence[bytes], form: Contract) -> bytes:
        """One phase, 1 to 5; ``form`` is the only form of model that it reads."""
        first, second = (*messages, b"", b"")[:2]
        if phase == 1:  # up: the round's public keys
            return keys_message(self.secrets.advertise())
        if phase == 2:
            return self.shares(first, second)
        if phase == 3:
            return self.masked(first, second, form)
        if phase == 4:  # who arrived down; up: one share a neighbour
            return revealed_message(self.secrets.reveal(read_places(first)))
        self.close(first)
        return b""

    def shares(self, neighbours: bytes, announced: bytes) -> bytes:
        """Neighbours' keys and the model's digest down; up 2: a share of both secrets for each."""
        self.secrets.agreed = digest(self._terms + announced)
        return by_place_message(self.secrets.share(read_by_place(neighbours, KEYS)), SEALED)

    def masked(self, sealed: bytes, model: bytes, form: Contract) -> bytes:
        """What neighbours sealed and the round's model down; up 3: the gradient under masks.

        Raises:
            BadMessage: another model than was announced, or than neighbours received.
        """
        if digest(self._terms + digest(model)) != self.secrets.agreed:
            raise BadMessage("not the model that was announced")
        gradients, totals = self._user.contribution(decode(model, form))
        words = self._coding.encode(gradients, totals, self._draw)
        try:
            hidden = self.secrets.masked(words, read_by_place(sealed, SEALED))
        except InvalidTag:
            raise BadMessage("neighbours are of another round, or told of another model") from None
        self._sent = True
        return words_message(hidden)

    def close(self, closing: bytes) -> None:
        """The totals down: the device steps its own vector.

        Raises:
            BadMessage: it sent nothing in this round.
        """
        if not self._sent:
            raise BadMessage("the end of a round that this device sent nothing in")
        self._user.close(read_closing(closing))


def degree_of(devices: int) -> int:
    """How many neighbours a device has in a cohort of ``devices``."""
    return min(NEIGHBOURS, (devices - 1) // 2 * 2)


def threshold_of(neighbours: int) -> int:
    """How many of a device's neighbours must answer: two thirds of them and one."""
    return 2 * neighbours // 3 + 1
