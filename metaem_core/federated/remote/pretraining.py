"""Training whose devices are elsewhere: rounds over any link that carries bytes."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from metaem_core.federated.encoding import decode, encode
from metaem_core.federated.layouts import LayoutCodec
from metaem_core.federated.messages import Download, Upload, combine
from metaem_core.federated.remote.exchange import Exchange
from metaem_core.federated.rounds import RoundStats
from metaem_core.federated.server import PretrainServer
from metaem_core.training.epochs import Errors


class RemoteRounds:
    """Rounds of stage 1: every device is sent its own message, and steps follow who answered."""

    def __init__(
        self, server: PretrainServer, exchange: Exchange, codec: LayoutCodec, of_user: Tensor
    ) -> None:
        """``of_user`` (m,): how many ratings each device trains on."""
        if codec.names_items:
            raise ValueError("over a link a device is sent all items: use product or literal")
        self.server, self.exchange = server, exchange
        self._codec, self._of_user = codec, of_user
        self._everything = torch.arange(len(server.model.common_items))

    def round(self, cohort: Tensor) -> RoundStats:
        """Algorithm 1, lines 5-12, for those who answered; nothing of the others moves.

        Raises:
            RoundVoid: no quorum, several times; nothing was changed.
        """
        download = self.server.download(cohort, self._everything)
        sent = self._sent(download, cohort)
        contracts = {d: self._codec.answer_contract(one) for d, one in sent.items()}

        def read(device: int, answer: bytes) -> Upload:
            return self._codec.gradients(decode(answer, contracts[device]), sent[device])

        counts = dict(zip(sent, self._of_user[cohort].tolist(), strict=True))
        uploads = self.exchange.gathered(self._packed(sent), counts, read)
        upload = combine([*uploads.values()], download.per_device)
        answered = torch.tensor([*uploads])
        if len(answered) < len(cohort):
            download = self.server.download(answered, self._everything)
        (items,) = upload.gradients["common_items"]
        touched = items.any(1).nonzero().flatten()  # rows that nobody rated do not move
        gradients = {**upload.gradients, "common_items": (items.index_select(0, touched),)}
        self.server.apply(download, replace(upload, gradients=gradients), answered, touched)
        return RoundStats(upload.squared_error, upload.n_ratings)

    def validate(self, users: Tensor) -> Errors:
        """Errors on the ratings that the devices of ``users`` keep; raises as Exchange.errors."""
        download = self.server.download(users, self._everything)
        return self.exchange.errors(self._packed(self._sent(download, users)))

    def _sent(self, download: Download, devices: Tensor) -> dict[int, Download]:
        return {d: download.of_device(place) for place, d in enumerate(devices.tolist())}

    def _packed(self, sent: Mapping[int, Download]) -> dict[int, bytes]:
        return {device: encode(self._codec.pack(one)) for device, one in sent.items()}

    def state(self) -> dict[str, Tensor]:
        return {**self.server.state(), **self.exchange.state()}
