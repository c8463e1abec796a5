"""The primitives under secure aggregation: keys, masks, shares of secrets."""

import numpy as np
from Crypto.Protocol.SecretSharing import Shamir
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

Words = NDArray[np.uint32]
KEY = 32  # bytes of a key, or of another secret
HALVES = slice(KEY // 2), slice(KEY // 2, KEY)  # one run of Shamir's scheme shares 16 bytes


class TooFewDevices(ValueError):
    """Fewer devices take part than it takes to hide one among them; the round is void."""


def usable(key: bytes) -> bool:
    """Whether a public key of X25519 agrees with another on a secret; of low order it does not."""
    try:
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(key))
    except ValueError:
        return False
    return True


def derive(secret: bytes, purpose: bytes) -> bytes:
    """A key of 32 bytes for one purpose (HKDF-SHA256, RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=KEY, salt=None, info=purpose).derive(secret)


def keystream(key: bytes, words: int) -> Words:
    """The first ``words`` words of ChaCha20 (RFC 8439) under ``key``; a key is used once."""
    cipher = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
    return np.frombuffer(cipher.update(bytes(4 * words)), dtype="<u4").astype(np.uint32)


def add_mask(total: Words, seed: bytes, first: bool) -> None:
    mask = keystream(seed, len(total))
    if first:
        total += mask
    else:
        total -= mask


def agree(own: X25519PrivateKey, keys: bytes, kind: bytes, a: int, b: int) -> bytes:
    """A key of two devices; that for masks is the same from both sides.

    Args:
        keys: the other one's public keys, for masks and for shares.
        kind: ``mask`` or ``share``.
    """
    ends, other = (sorted((a, b)), keys[:KEY]) if kind == b"mask" else ((a, b), keys[KEY:])
    purpose = kind + b"".join(end.to_bytes(8, "big") for end in ends)
    return derive(own.exchange(X25519PublicKey.from_public_bytes(other)), purpose)


def split_secret(secret: bytes, threshold: int, count: int) -> list[bytes]:
    """Shares of 32 bytes: two runs of Shamir's scheme over 16."""
    halves = (Shamir.split(threshold, count, secret[half]) for half in HALVES)
    return [a[1] + b[1] for a, b in zip(*halves, strict=True)]


def joined_secret(shares: list[bytes], threshold: int, device: int) -> bytes:
    """The secret of a device from shares behind their places."""
    if len(shares) < threshold:
        raise TooFewDevices(f"{len(shares)} shares of device {device}'s secret, need {threshold}")
    by_place = {int.from_bytes(share[:2], "big"): share[2:] for share in shares}
    some = [*by_place.items()][:threshold]
    halves = ([(place, share[half]) for place, share in some] for half in HALVES)
    try:
        if len(some) < threshold:
            raise ValueError("two shares of one place")
        return b"".join(Shamir.combine(half) for half in halves)
    except ValueError as error:
        raise TooFewDevices(f"shares of device {device}'s secret are no shares: {error}") from None
