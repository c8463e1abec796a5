"""Cohorts whose devices take their turns: slow, and the measure of every faster way."""

import torch
from torch import Tensor

from metaem_core.data.ratings import Ratings
from metaem_core.federated.encoding import ID_BYTES, Traffic, contract_of, decode, encode
from metaem_core.federated.layouts import LayoutCodec, restricted
from metaem_core.federated.messages import Download, Upload, combine
from metaem_core.federated.remote.device import step_answer
from metaem_core.federated.simulation import DeviceStore


class MessageLoop:
    """Each device in turn is sent its message and answers with one.

    Slow, and exact about bytes: the measure of every faster way to run or to count a round.
    """

    def __init__(self, ratings: Ratings, dtype: torch.dtype, codec: LayoutCodec) -> None:
        self.devices, self.codec = DeviceStore(ratings, dtype), codec
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
        rows_sent = items if self.codec.names_items else None
        sent = download if rows_sent is None else restricted(download, rows_sent)
        packed = self.codec.pack(sent)
        down, places = encode(packed), items if rows_sent is None else torch.arange(len(items))
        up = step_answer(down, contract_of(packed), places, values, self.codec, download.relu_last)
        request = 0 if rows_sent is None else ID_BYTES * len(rows_sent)
        self.traffic.append(Traffic(len(down), len(up) + request))
        upload = self.codec.gradients(decode(up, self.codec.answer_contract(sent)), sent)
        if rows_sent is not None:
            whole = torch.zeros_like(download.common_items)
            whole[rows_sent] = upload.gradients["common_items"][0]
            upload.gradients["common_items"] = (whole,)
        return upload

    def state(self) -> dict[str, Tensor]:
        return {}
