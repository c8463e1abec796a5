"""Sums of a cohort's vectors of which a server learns nothing but the sum.

Pairwise masks that cancel, and one of each device's own, after Bonawitz et al. 2017, among a few
neighbours instead of all (Bell et al. 2020, Algorithm 2). Devices may drop out at every step: of
one that sent no vector, the masks it shares with others are rebuilt from Shamir shares; of one that
did, its own mask is. No device ever gives both away. Primitives are those of ``cryptography``
(X25519, HKDF, ChaCha20, ChaCha20-Poly1305) and ``pycryptodome`` (Shamir).

What it assumes: a server that follows the protocol, hands out keys as they are and tells everyone
the same of who arrived; else it may open sums of fewer devices. What else all must have been told
alike is ``agreed``: neighbours that were not cannot read each other's shares. What it does not
hide: who took part, and whatever the sum itself says.
"""

import secrets
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from Crypto.Protocol.SecretSharing import Shamir
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

Words = NDArray[np.uint32]
HALF = 16  # bytes that one run of Shamir's scheme shares


class TooFewDevices(ValueError):
    """Fewer devices take part than it takes to hide one among them; the round is void."""


class OutOfTurn(RuntimeError):
    """A step was asked for twice or out of order; a device does each of them once."""


class PublicKeys(NamedTuple):
    """What a device shows everyone in one round."""

    masks: bytes  # X25519, for the masks shared with neighbours
    shares: bytes  # X25519, for what is sent to neighbours through the server


class Shares(NamedTuple):
    """What one neighbour keeps for a device."""

    place: int
    mask_key: bytes
    own_seed: bytes


@dataclass(frozen=True)
class Revealed:
    """A device's answer to who sent a vector and who did not."""

    own_seeds: Mapping[int, tuple[int, bytes]]  # share, by neighbour that sent its vector
    mask_keys: Mapping[int, tuple[int, bytes]]  # share, by neighbour that did not


@dataclass
class SecureDevice:
    """One device in one round: share, masked, reveal, in this order and each once.

    It guards itself: whatever a server says, it shares with more than it takes to open a secret,
    and gives nothing away unless the server says that ``threshold`` neighbours' vectors are there.
    """

    index: int
    threshold: int  # neighbours that must answer to open anything; more than half of them
    agreed: bytes = bytes(32)  # digest of what neighbours must have been told too
    _masks: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate, repr=False)
    _shares: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate, repr=False)
    _own_seed: bytes = field(default_factory=lambda: secrets.token_bytes(2 * HALF), repr=False)
    _kept: dict[int, Shares] = field(default_factory=dict, repr=False)
    _done: int = field(default=0, repr=False)  # steps
    _neighbours: dict[int, PublicKeys] = field(default_factory=dict, repr=False)

    def state(self) -> dict[str, list[bytes]]:
        """All of it, for the device's own disk between two steps; whoever reads it can unmask."""
        own = [self._masks.private_bytes_raw(), self._shares.private_bytes_raw(), self._own_seed]
        near = [
            other.to_bytes(4, "big") + keys.masks + keys.shares
            for other, keys in self._neighbours.items()
        ]
        kept = [
            other.to_bytes(4, "big")
            + share.place.to_bytes(2, "big")
            + share.mask_key
            + share.own_seed
            for other, share in self._kept.items()
        ]
        own += [self._done.to_bytes(32, "big"), self.agreed]
        return {"own": own, "near": near, "kept": kept}

    @classmethod
    def restored(
        cls, index: int, threshold: int, state: Mapping[str, list[bytes]]
    ) -> "SecureDevice":
        """What :meth:`state` kept."""
        masks, shares, seed, done, agreed = state["own"]
        near = {
            int.from_bytes(row[:4], "big"): PublicKeys(row[4:36], row[36:]) for row in state["near"]
        }
        cut = 6 + 2 * HALF
        kept = {
            int.from_bytes(row[:4], "big"): Shares(
                int.from_bytes(row[4:6], "big"), row[6:cut], row[cut:]
            )
            for row in state["kept"]
        }
        for_masks, for_shares = map(X25519PrivateKey.from_private_bytes, (masks, shares))
        step = int.from_bytes(done, "big")
        return cls(index, threshold, agreed, for_masks, for_shares, seed, kept, step, near)

    def advertise(self) -> PublicKeys:
        """Step 1: public keys."""
        return PublicKeys(
            self._masks.public_key().public_bytes_raw(),
            self._shares.public_key().public_bytes_raw(),
        )

    def share(self, neighbours: Mapping[int, PublicKeys]) -> dict[int, bytes]:
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
        mask_key = _split(self._masks.private_bytes_raw(), self.threshold, len(neighbours))
        own_seed = _split(self._own_seed, self.threshold, len(neighbours))
        sealed = {}
        for place, (other, keys) in enumerate(self._neighbours.items(), 1):
            key = _agreed(self._shares, keys.shares, b"share", self.index, other)
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
            key = _agreed(self._shares, self._neighbours[other].shares, b"share", other, self.index)
            plain = ChaCha20Poly1305(key).decrypt(bytes(12), data, self.agreed)
            cut = 2 + 2 * HALF
            self._kept[other] = Shares(int.from_bytes(plain[:2], "big"), plain[2:cut], plain[cut:])
        if len(self._kept) < self.threshold:
            raise TooFewDevices(
                f"device {self.index} holds shares of {len(self._kept)}, needs {self.threshold}"
            )
        total = values + keystream(derive(self._own_seed, b"own"), len(values))
        for other in self._kept:
            seed = _agreed(self._masks, self._neighbours[other].masks, b"mask", self.index, other)
            _add_mask(total, seed, self.index < other)
        return total

    def reveal(self, arrived: Set[int]) -> Revealed:
        """Step 4: of each neighbour one secret's share, by whether its vector ``arrived``."""
        self._take_turn(3)
        if (there := len(arrived & self._kept.keys())) < self.threshold:
            raise TooFewDevices(
                f"only {there} neighbours of device {self.index} sent a vector, "
                f"needs {self.threshold}"
            )
        own, masks = {}, {}
        for other, kept in self._kept.items():
            if other in arrived:
                own[other] = (kept.place, kept.own_seed)
            else:
                masks[other] = (kept.place, kept.mask_key)
        return Revealed(own, masks)

    def _take_turn(self, step: int) -> None:
        if self._done != step - 1:
            raise OutOfTurn(f"device {self.index} has done {self._done} steps, asked for {step}")
        self._done = step


def opened(
    vectors: Mapping[int, Words],
    taking_part: Mapping[int, Set[int]],
    keys: Mapping[int, PublicKeys],
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
            seed = _joined(shares, threshold, device)
            total -= keystream(derive(seed, b"own"), len(total))
        else:
            shares = [a.mask_keys[device] for a in answers if device in a.mask_keys]
            private = X25519PrivateKey.from_private_bytes(_joined(shares, threshold, device))
            for other in neighbours & vectors.keys():
                seed = _agreed(private, keys[other].masks, b"mask", device, other)
                _add_mask(total, seed, device < other)  # cancels what the other one added
    return total


def usable(key: bytes) -> bool:
    """Whether a public key of X25519 agrees with another on a secret; of low order it does not."""
    try:
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(key))
    except ValueError:
        return False
    return True


def ring(devices: int, degree: int, seed: int) -> list[set[int]]:
    """Neighbours of each device: ``degree`` of them, half on each side of a shuffled ring."""
    if not 0 < degree < devices or degree % 2:
        raise ValueError(f"degree must be even, above 0 and below {devices}, got {degree}")
    order = np.random.default_rng(seed).permutation(devices)
    found: list[set[int]] = [set() for _ in range(devices)]
    for step in range(1, degree // 2 + 1):
        for a, b in zip(order.tolist(), np.roll(order, step).tolist(), strict=True):
            found[a].add(b)
            found[b].add(a)
    return found


def to_words(values: NDArray[np.floating], unit: float, devices: int) -> Words:
    """Whole multiples of ``unit`` modulo 2^32, of which ``devices`` many can be added.

    Raises:
        ValueError: a number so large that a sum could overflow.
    """
    whole = np.rint(values / unit)
    if not np.abs(whole).max(initial=0) < 2**31 / devices:
        largest = 2**31 / devices * unit
        raise ValueError(f"a value is not below {largest:g} in size: clip, or enlarge the unit")
    words: Words = whole.astype(np.int64).astype(np.uint32)
    return words


def from_words(total: Words, unit: float) -> NDArray[np.float64]:
    """The sum that :func:`to_words`' results add up to."""
    found: NDArray[np.float64] = total.astype(np.int32).astype(np.float64) * unit
    return found


def derive(secret: bytes, purpose: bytes) -> bytes:
    """A key of 32 bytes for one purpose (HKDF-SHA256, RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(secret)


def keystream(key: bytes, words: int) -> Words:
    """The first ``words`` words of ChaCha20 (RFC 8439) under ``key``; a key is used once."""
    cipher = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
    return np.frombuffer(cipher.update(bytes(4 * words)), dtype="<u4").astype(np.uint32)


def _add_mask(total: Words, seed: bytes, first: bool) -> None:
    mask = keystream(seed, len(total))
    if first:
        total += mask
    else:
        total -= mask


def _agreed(own: X25519PrivateKey, other: bytes, kind: bytes, a: int, b: int) -> bytes:
    """A key of two devices; that for masks is the same from both sides."""
    ends = sorted((a, b)) if kind == b"mask" else (a, b)
    purpose = kind + b"".join(end.to_bytes(8, "big") for end in ends)
    return derive(own.exchange(X25519PublicKey.from_public_bytes(other)), purpose)


def _split(secret: bytes, threshold: int, count: int) -> list[bytes]:
    """Shares of 32 bytes: two runs of Shamir's scheme over 16."""
    halves = (Shamir.split(threshold, count, secret[i : i + HALF]) for i in (0, HALF))
    return [a[1] + b[1] for a, b in zip(*halves, strict=True)]


def _joined(shares: list[tuple[int, bytes]], threshold: int, device: int) -> bytes:
    if len(shares) < threshold:
        raise TooFewDevices(f"{len(shares)} shares of device {device}'s secret, need {threshold}")
    some = [*dict(shares).items()][:threshold]
    halves = ([(place, share[i : i + HALF]) for place, share in some] for i in (0, HALF))
    try:
        if len(some) < threshold:
            raise ValueError("two shares of one place")
        return b"".join(Shamir.combine(half) for half in halves)
    except ValueError as error:
        raise TooFewDevices(f"shares of device {device}'s secret are no shares: {error}") from None
