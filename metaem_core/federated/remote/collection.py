"""What a server takes in during one round over a network, and what it leaves out."""

from collections.abc import Callable, Mapping

import torch

from metaem_core.federated.encoding import BadMessage
from metaem_core.federated.messages import Upload

Read = Callable[[int, bytes], Upload]  # a device's answer; raises BadMessage


class RoundVoid(RuntimeError):
    """Too few devices answered; nothing was changed."""


class Collection:
    """Answers as they come in: each device at most once, for this round, and fit to be used.

    Whatever is not is refused in words and changes nothing, so that one device cannot stop or
    spoil a round: another round's answer, a second one, an unknown device's, bytes that break the
    contract, a gradient whose norm is beyond ``largest``.
    """

    def __init__(self, number: int, read: Read, counts: Mapping[int, int], largest: float) -> None:
        """``counts``: the devices of the round, and how many ratings each trains on."""
        self.number, self._read, self._counts = number, read, counts
        self._largest = largest
        self._uploads: dict[int, Upload] = {}

    def take(self, number: int, device: int, answer: bytes) -> str | None:
        """Take one answer in; returns why not, if not."""
        if number != self.number:
            return f"an answer to round {number} in round {self.number}"
        if device not in self._counts:
            return f"device {device} is not in round {number}"
        if device in self._uploads:
            return f"device {device} answered before"
        try:
            upload = self._read(device, answer)
        except BadMessage as error:
            return f"device {device}: {error}"
        if upload.n_ratings != self._counts[device] or not (
            0 <= upload.squared_error <= upload.n_ratings * self._largest
        ):
            return f"device {device}: totals that its ratings cannot have"
        if (norm := _norm(upload)) > self._largest:
            return f"device {device}: a gradient of norm {norm:g}, beyond {self._largest:g}"
        self._uploads[device] = upload
        return None

    def close(self, quorum: float) -> dict[int, Upload]:
        """Every device's upload, ascending.

        Raises:
            RoundVoid: fewer than the share ``quorum`` of the cohort answered.
        """
        if len(self._uploads) < max(1, quorum * len(self._counts)):
            raise RoundVoid(
                f"round {self.number}: {len(self._uploads)} of {len(self._counts)} devices "
                f"answered, needs {quorum:.0%}"
            )
        return {device: self._uploads[device] for device in sorted(self._uploads)}


def _norm(upload: Upload) -> float:
    parts = [tensor.flatten() for field in upload.gradients.values() for tensor in field]
    return float(torch.cat(parts).double().norm())
