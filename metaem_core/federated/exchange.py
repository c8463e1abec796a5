"""Rounds in which everything that passes between server and device is bytes, and is counted."""

from typing import NamedTuple

import torch
from torch import Tensor

from metaem_core.data.ratings import Ratings
from metaem_core.federated.device import PrivateRatings, device_step
from metaem_core.federated.payloads import Payload, restricted
from metaem_core.federated.protocol import Download, Upload, combine
from metaem_core.federated.simulation import DeviceStore
from metaem_core.federated.wire import Contract, contract_of, decode, encode

ID_BYTES = 4  # of an item that a device asks for by name


class Traffic(NamedTuple):
    """Bytes of one device's round."""

    down: int
    up: int

    @property
    def both(self) -> int:
        return self.down + self.up


class MessageLoop:
    """Each device in turn is sent its message and answers with one.

    Slow, and exact about bytes: the measure of every faster way to run or to count a round.
    """

    def __init__(self, ratings: Ratings, dtype: torch.dtype, payload: Payload) -> None:
        self.devices, self.payload = DeviceStore(ratings, dtype), payload
        self.traffic: list[Traffic] = []  # in the order of devices

    def rows(self, cohort: Tensor) -> Tensor:
        return torch.arange(self.devices.n_items)

    def gather(self, download: Download, cohort: Tensor, rows: Tensor) -> Upload:
        uploads = [
            self._round(download.of_device(position), device)
            for position, device in enumerate(cohort.tolist())
        ]
        return combine(uploads, download.per_device)

    def _round(self, download: Download, device: int) -> Upload:
        items, values = self.devices.of_device(device)
        asked = items if self.payload.names_items else None
        sent = download if asked is None else restricted(download, asked)
        packed = self.payload.pack(sent)
        down, places = encode(packed), items if asked is None else torch.arange(len(items))
        up = answered(down, contract_of(packed), places, values, self.payload, download.relu_last)
        request = 0 if asked is None else ID_BYTES * len(asked)
        self.traffic.append(Traffic(len(down), len(up) + request))
        found = self.payload.gradients(decode(up, self.payload.answer_contract(sent)), sent)
        if asked is not None:
            whole = torch.zeros_like(download.common_items)
            whole[asked] = found.gradients["common_items"][0]
            found.gradients["common_items"] = (whole,)
        return found

    def state(self) -> dict[str, Tensor]:
        return {}


def answered(
    message: bytes,
    contract: Contract,
    rows: Tensor,
    values: Tensor,
    payload: Payload,
    relu_last: bool,
) -> bytes:
    """The device's side of a round, bytes in and bytes out: Algorithm 1, lines 6 to 9.

    Args:
        contract: the only form of message it reads.
        rows: the message's row of each of its ratings (R,).
        values: its ratings (R,).
    """
    received = payload.unpack(decode(message, contract), relu_last)
    upload = device_step(received, PrivateRatings(torch.zeros_like(rows), rows, values))
    return encode(payload.answer(upload))
