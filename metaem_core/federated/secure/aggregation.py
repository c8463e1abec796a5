"""Sums of a cohort's vectors of which a server learns nothing but the sum.

Pairwise masks that cancel, and one of each device's own, after Bonawitz et al. 2017, among a few
neighbours instead of all (Bell et al. 2020, Algorithm 2). Devices may drop out at every step: of
one that sent no vector, the masks it shares with others are rebuilt from Shamir shares; of one that
did, its own mask is. No device ever gives both away. Primitives are those of ``cryptography``
(X25519, HKDF, ChaCha20, ChaCha20-Poly1305) and ``pycryptodome`` (Shamir).

It assumes a server that follows the protocol, forwards keys unchanged and names the same arrivals
to all devices; else the server may open sums of fewer devices. ``agreed`` is a digest of all else
that neighbours must have received alike: if it differs, they cannot read each other's shares.
Secure aggregation does not hide who took part, nor what the sum itself says.
"""

import secrets
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from metaem_core.federated.secure.primitives import (
    KEY,
    TooFewDevices,
    Words,
    add_mask,
    agree,
    derive,
    joined_secret,
    keystream,
    split_secret,
)


class OutOfTurn(RuntimeError):
    """A step was requested twice or out of order; a device does each of them once."""


@dataclass(frozen=True)
class Revealed:
    """A device's answer to who sent a vector and who did not: places and shares of secrets."""

    own_seeds: Mapping[int, bytes]  # by neighbour that sent its vector
    mask_keys: Mapping[int, bytes]  # by neighbour that did not


@dataclass
class SecureDevice:
    """One device in one round: share, masked, reveal, in this order and each once.

    It guards itself: whatever a server says, it shares with more than it takes to open a secret,
    and gives nothing away unless the server says that ``threshold`` neighbours' vectors are there.
    """

    index: int
    threshold: int  # neighbours that must answer to open anything; more than half of them
    agreed: bytes = bytes(32)  # digest of what neighbours must have received too
    _masks: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate, repr=False)
    _shares: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate, repr=False)
    _own_seed: bytes = field(default_factory=lambda: secrets.token_bytes(KEY), repr=False)
    # of each neighbour: its own place for this device, and shares of its mask key and its seed
    _kept: dict[int, bytes] = field(default_factory=dict, repr=False)
    _done: int = field(default=0, repr=False)  # steps
    _neighbours: dict[int, bytes] = field(default_factory=dict, repr=False)  # their public keys

    def state(self) -> dict[str, list[bytes]]:
        """All of it, for the device's own disk between two steps; whoever reads it can unmask."""
        own = [self._masks.private_bytes_raw(), self._shares.private_bytes_raw(), self._own_seed]
        own += [self._done.to_bytes(32, "big"), self.agreed]
        by_device = {"near": self._neighbours, "kept": self._kept}
        rows = {
            name: [device.to_bytes(4, "big") + row for device, row in of.items()]
            for name, of in by_device.items()
        }
        return {"own": own, **rows}

    @classmethod
    def restored(
        cls, index: int, threshold: int, state: Mapping[str, list[bytes]]
    ) -> "SecureDevice":
        """What :meth:`state` kept."""
        masks, shares, seed, done, agreed = state["own"]
        near, kept = (
            {int.from_bytes(row[:4], "big"): row[4:] for row in state[name]}
            for name in ("near", "kept")
        )
        for_masks, for_shares = map(X25519PrivateKey.from_private_bytes, (masks, shares))
        step = int.from_bytes(done, "big")
        return cls(index, threshold, agreed, for_masks, for_shares, seed, kept, step, near)

    def advertise(self) -> bytes:
        """Step 1: public keys, for masks and for what goes to neighbours through the server."""
        pair = self._masks.public_key(), self._shares.public_key()
        return b"".join(key.public_bytes_raw() for key in pair)

    def share(self, neighbours: Mapping[int, bytes]) -> dict[int, bytes]:
        """Step 2: shares of both secrets, encrypted for each neighbour."""
        self._take_turn(1)
        if len(neighbours) < self.threshold:
            raise TooFewDevices(
                f"device {self.index} has {len(neighbours)} neighbours, needs {self.threshold}"
            )
        if 2 * self.threshold <= len(neighbours):
            raise ValueError(
                f"threshold must exceed half of the {len(neighbours)} neighbours, "
                f"got {self.threshold}: else two halves could be told different things"
            )
        self._neighbours = dict(sorted(neighbours.items()))
        mask_key = split_secret(self._masks.private_bytes_raw(), self.threshold, len(neighbours))
        own_seed = split_secret(self._own_seed, self.threshold, len(neighbours))
        sealed = {}
        for place, (other, keys) in enumerate(self._neighbours.items(), 1):
            key = agree(self._shares, keys, b"share", self.index, other)
            plain = place.to_bytes(2, "big") + mask_key[place - 1] + own_seed[place - 1]
            sealed[other] = ChaCha20Poly1305(key).encrypt(bytes(12), plain, self.agreed)
        return sealed

    def masked(self, values: Words, sealed: Mapping[int, bytes]) -> Words:
        """Step 3: ``values`` under all masks; ``sealed`` are the shares that neighbours sent.

        Only neighbours whose shares arrived count: the others have already left.

        Raises:
            InvalidTag: a neighbour's share is not of this round, or ``agreed`` is not the same.
        """
        self._take_turn(2)
        for other, data in sealed.items():
            key = agree(self._shares, self._neighbours[other], b"share", other, self.index)
            self._kept[other] = ChaCha20Poly1305(key).decrypt(bytes(12), data, self.agreed)
        if len(self._kept) < self.threshold:
            raise TooFewDevices(
                f"device {self.index} holds shares of {len(self._kept)}, needs {self.threshold}"
            )
        total = values + keystream(derive(self._own_seed, b"own"), len(values))
        for other in self._kept:
            seed = agree(self._masks, self._neighbours[other], b"mask", self.index, other)
            add_mask(total, seed, self.index < other)
        return total

    def reveal(self, arrived: Set[int]) -> Revealed:
        """Step 4: of each neighbour one secret's share, by whether its vector ``arrived``."""
        self._take_turn(3)
        if (there := len(arrived & self._kept.keys())) < self.threshold:
            raise TooFewDevices(
                f"only {there} neighbours of device {self.index} sent a vector, "
                f"needs {self.threshold}"
            )
        own = {n: kept[:2] + kept[2 + KEY :] for n, kept in self._kept.items() if n in arrived}
        masks = {n: kept[: 2 + KEY] for n, kept in self._kept.items() if n not in arrived}
        return Revealed(own, masks)

    def _take_turn(self, step: int) -> None:
        if self._done != step - 1:
            raise OutOfTurn(f"device {self.index} has done {self._done} steps, asked for {step}")
        self._done = step


def opened(
    vectors: Mapping[int, Words],
    taking_part: Mapping[int, Set[int]],
    keys: Mapping[int, bytes],
    revealed: Mapping[int, Revealed],
    threshold: int,
) -> Words:
    """The sum of the devices' values modulo 2^32.

    Args:
        vectors: what arrived in step 3, by device.
        taking_part: of every device that shared secrets, its neighbours that did.
        keys: public keys of all of them.
        revealed: what arrived in step 4.

    Raises:
        TooFewDevices: not more than ``threshold`` vectors, or fewer than ``threshold`` shares of a
            secret that is needed.
    """
    if len(vectors) <= threshold:
        raise TooFewDevices(f"{len(vectors)} vectors arrived, need more than {threshold}")
    total: Words = np.sum(list(vectors.values()), axis=0, dtype=np.uint32)
    for device, neighbours in taking_part.items():
        answers = [revealed[other] for other in neighbours if other in revealed]
        if device in vectors:
            shares = [a.own_seeds[device] for a in answers if device in a.own_seeds]
            seed = joined_secret(shares, threshold, device)
            total -= keystream(derive(seed, b"own"), len(total))
        else:
            shares = [a.mask_keys[device] for a in answers if device in a.mask_keys]
            private = X25519PrivateKey.from_private_bytes(joined_secret(shares, threshold, device))
            for other in neighbours & vectors.keys():
                seed = agree(private, keys[other], b"mask", device, other)
                add_mask(total, seed, device < other)  # cancels what the other one added
    return total


def ring(devices: int, degree: int, seed: int) -> list[set[int]]:
    """Neighbours of each device: ``degree`` of them, half on each side of a shuffled ring."""
    if not 0 < degree < devices or degree % 2:
        raise ValueError(f"degree must be even, above 0 and below {devices}, got {degree}")
    order = np.random.default_rng(seed).permutation(devices)
    neighbours: list[set[int]] = [set() for _ in range(devices)]
    for step in range(1, degree // 2 + 1):
        for a, b in zip(order.tolist(), np.roll(order, step).tolist(), strict=True):
            neighbours[a].add(b)
            neighbours[b].add(a)
    return neighbours
