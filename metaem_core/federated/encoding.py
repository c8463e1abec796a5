"""Messages as bytes: named tensors in safetensors' format behind their SHA-256."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

Message = Mapping[str, Tensor]
Contract = Mapping[
    str, tuple[torch.dtype, tuple[int, ...]]
]  # what a message must hold; -1: any size

SUM = 32  # bytes of SHA-256
ID_BYTES = 4  # of an item that a device asks for by name

# what safetensors raises for bytes made to be unreadable: unknown types, shapes without end
UNREADABLE = (SafetensorError, KeyError, TypeError, ValueError, OverflowError, RuntimeError)


class Traffic(NamedTuple):
    """Bytes of one device's round."""

    down: int
    up: int

    @property
    def both(self) -> int:
        return self.down + self.up


class BadMessage(ValueError):
    """What arrived is not what the round's contract allows; it is not used."""


def encode(message: Message) -> bytes:
    """The message as it travels."""
    content = save({name: tensor.contiguous() for name, tensor in message.items()})
    return digest(content) + content


def digest(content: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(content).digest()


def decode(data: bytes, contract: Contract) -> dict[str, Tensor]:
    """The message in ``data``.

    Raises:
        BadMessage: bytes that were changed or cannot be read; a name too many or too few; another
            type or shape; numbers that are not finite.
    """
    checksum, content = data[:SUM], data[SUM:]
    if checksum != digest(content):
        raise BadMessage("not the bytes that were sent")
    try:
        message = load(content)
    except UNREADABLE as error:
        raise BadMessage(f"not a message: {error}") from None
    if message.keys() != contract.keys():
        raise BadMessage(f"message holds {sorted(message)}, expected {sorted(contract)}")
    for name, (dtype, shape) in contract.items():
        tensor = message[name]
        sizes = tuple(tensor.shape)
        fits = len(sizes) == len(shape) and all(
            want in (-1, size) for want, size in zip(shape, sizes, strict=True)
        )
        if tensor.dtype != dtype or not fits:
            raise BadMessage(f"{name} is {tensor.dtype} of shape {sizes}, expected {dtype} {shape}")
        if not bool(tensor.isfinite().all()):
            raise BadMessage(f"{name} holds numbers that are not finite")
    return message


def contract_of(message: Message) -> Contract:
    """A contract that messages shaped like this one fulfil."""
    return {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in message.items()}
