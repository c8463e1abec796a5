"""What a server takes in during one round over a network, and what it leaves out."""

from collections.abc import Callable, Mapping

import torch

from metaem_core.federated.protocol import Upload
from metaem_core.federated.wire import BadMessage

Read = Callable[[int, bytes], Upload]  # a device's answer; raises BadMessage


class RoundVoid(RuntimeError):
    """Too few devices answered; nothing was changed."""


class RoundRefused(RoundVoid):
    """Enough answered, with what cannot be used: training has left the numbers it can be in."""


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
        self._refused: set[int] = set()

    def take(self, number: int, device: int, answer: bytes) -> str | None:
        """Take one answer in; returns why not, if not."""
        if number != self.number:
            return f"an answer to round {number} in round {self.number}"
        if device not in self._counts:
            return f"device {device} is not in round {number}"
        if device in self._uploads:
            return f"device {device} answered before"
        why, upload = self._judged(device, answer)
        if upload is None:
            self._refused.add(device)
            return f"device {device}: {why}"
        self._uploads[device] = upload
        return None

    def _judged(self, device: int, answer: bytes) -> tuple[str, Upload | None]:
        """Why an answer cannot be used, or what it holds."""
        try:
            upload = self._read(device, answer)
        except BadMessage as error:
            return str(error), None
        if upload.n_ratings != self._counts[device] or not (
            0 <= upload.squared_error <= upload.n_ratings * self._largest
        ):
            return "totals that its ratings cannot have", None
        if (norm := _norm(upload)) > self._largest:
            return f"a gradient of norm {norm:g}, beyond {self._largest:g}", None
        return "", upload

    def close(self, quorum: float) -> dict[int, Upload]:
        """Every device's upload, ascending.

        Raises:
            RoundVoid: fewer than the share ``quorum`` of the cohort answered.
            RoundRefused: they did, and could not be used.
        """
        needed = max(1, quorum * len(self._counts))
        if len(self._uploads) < needed:
            heard = len(self._uploads.keys() | self._refused)
            raise (RoundRefused if heard >= needed else RoundVoid)(
                f"round {self.number}: {len(self._uploads)} of {len(self._counts)} devices "
                f"answered, needs {quorum:.0%}"
                + (f"; {len(self._refused)} of no use" if heard >= needed else "")
            )
        return {device: self._uploads[device] for device in sorted(self._uploads)}


def _norm(upload: Upload) -> float:
    parts = [tensor.flatten() for field in upload.gradients.values() for tensor in field]
    return float(torch.cat(parts).double().norm())
