"""What a server takes in during one round over a network, and what it leaves out."""

from collections.abc import Mapping

import torch
from torch import Tensor

from metaem_core.federated.payloads import Payload
from metaem_core.federated.protocol import Download, Upload, combine
from metaem_core.federated.wire import BadMessage, decode


class RoundVoid(RuntimeError):
    """Too few devices answered; nothing was changed."""


class Collection:
    """Answers as they come in: each device at most once, for this round, and fit to be used.

    Whatever is not is refused in words and changes nothing, so that one device cannot stop or
    spoil a round: another round's answer, a second one, an unknown device's, bytes that break the
    contract, a gradient whose norm is beyond ``largest``.
    """

    def __init__(
        self,
        number: int,
        sent: Mapping[int, Download],
        counts: Mapping[int, int],
        payload: Payload,
        largest: float,
    ) -> None:
        """``sent``: what each device of the round was sent; ``counts``: ratings it trains on."""
        self.number, self._sent, self._counts = number, sent, counts
        self._payload, self._largest = payload, largest
        self._uploads: dict[int, Upload] = {}

    def take(self, number: int, device: int, answer: bytes) -> str | None:
        """Take one answer in; returns why not, if not."""
        if number != self.number:
            return f"an answer to round {number} in round {self.number}"
        if device not in self._sent:
            return f"device {device} is not in round {number}"
        if device in self._uploads:
            return f"device {device} answered before"
        download = self._sent[device]
        try:
            message = decode(answer, self._payload.answer_contract(download))
        except BadMessage as error:
            return f"device {device}: {error}"
        upload = self._payload.gradients(message, download)
        if upload.n_ratings != self._counts[device] or not (
            0 <= upload.squared_error <= upload.n_ratings * self._largest
        ):
            return f"device {device}: totals that its ratings cannot have"
        if (norm := _norm(upload)) > self._largest:
            return f"device {device}: a gradient of norm {norm:g}, beyond {self._largest:g}"
        self._uploads[device] = upload
        return None

    def close(self, quorum: float) -> tuple[Tensor, Upload]:
        """Who answered, ascending, and their combined upload.

        Raises:
            RoundVoid: fewer than the share ``quorum`` of the cohort answered.
        """
        if len(self._uploads) < max(1, quorum * len(self._sent)):
            raise RoundVoid(
                f"round {self.number}: {len(self._uploads)} of {len(self._sent)} devices answered, "
                f"needs {quorum:.0%}"
            )
        answered = sorted(self._uploads)
        per_device = self._sent[answered[0]].per_device
        return torch.tensor(answered), combine([self._uploads[d] for d in answered], per_device)


def _norm(upload: Upload) -> float:
    parts = [tensor.flatten() for field in upload.gradients.values() for tensor in field]
    return float(torch.cat(parts).double().norm())
