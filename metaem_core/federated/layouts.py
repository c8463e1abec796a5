"""How one device's download and upload travel in the three open layouts.

The server packs a :class:`Download` of one device into a message. The device unpacks it for
``device_step`` and packs the upload into an answer, from which the server reads the gradients.
The device's step is the same in every layout.
"""

from dataclasses import replace

import torch
from torch import Tensor

from metaem_core.config.pretrain import OpenLayout
from metaem_core.federated.encoding import Contract, Message, contract_of
from metaem_core.federated.messages import Download, Upload
from metaem_core.federated.quantization import from_int8, to_int8
from metaem_core.models.metaem import flat, network
from metaem_core.models.mlp import Parameters

TOWER, UNIT = "item_tower", ".unit"


class LayoutCodec:
    """Packs and reads one layout's messages. ``download`` is that of one device (S = 1).

    - ``literal``, as the paper's algorithm reads: V^c whole and V^p down, their gradients up.
    - ``product``: ``V_ui = V^c V^p`` (Eq. 2) down and its gradient up: the same gradient in
      k_p / k_c bytes.
    - ``rows``: the product's rows that the device requests, and MLP_item, as eight-bit numbers.
      Gradients of rows travel as eight-bit numbers too; those of MLP_item and of the user in full.
    """

    def __init__(self, layout: OpenLayout, draw: torch.Generator) -> None:
        """``draw`` decides between rounding up and down."""
        self.names_items = layout == "rows"  # whether a device asks for the rows that it needs
        self._table = "common_items" if layout == "literal" else "items"
        self._draw = draw

    def pack(self, download: Download) -> Message:
        """Server: what the device is sent."""
        message = self._whole(download)
        return self._short(message, [n for n in message if n == "items" or n.startswith(TOWER)])

    def unpack(self, message: Message, relu_last: bool) -> Download:
        """Device: what it computes with."""
        full = _long(message)
        items = full[self._table]
        return Download(
            full["user_vectors"],
            full.get("private_items", torch.eye(items.shape[1], dtype=items.dtype)[None]),
            items,
            full["item_offsets"],
            full["item_features"],
            network(full, TOWER),
            relu_last,
            frozenset({"user_vectors", "common_items", TOWER} | {"private_items"} & full.keys()),
        )

    def answer(self, upload: Upload) -> Message:
        """Device: what it sends back."""
        gradients = dict(upload.gradients)
        message = flat(TOWER, gradients.pop(TOWER)) | _totals(upload)
        message[self._table] = gradients.pop("common_items")[0]
        return self._short(message | {n: of[0] for n, of in gradients.items()}, ["items"])

    def answer_contract(self, download: Download) -> Contract:
        """Server: the only form of answer that it reads."""
        sent = self._whole(download)
        answered = {n: t for n, t in sent.items() if n not in ("item_offsets", "item_features")}
        contract = dict(contract_of(answered | _totals(Upload({}, 0.0, 0))))
        if self.names_items:
            dtype, (rows, width) = contract["items"]
            contract |= {"items": (torch.int8, (rows, width)), f"items{UNIT}": (dtype, (rows,))}
        return contract

    def gradients(self, message: Message, download: Download) -> Upload:
        """Server: the answer as gradients of ``download``."""
        full, pull = _long(message), self.item_gradient(message)
        gradients: dict[str, Parameters] = {"user_vectors": (full["user_vectors"],)}
        if self._table == "common_items":
            gradients |= {"private_items": (full["private_items"],), "common_items": (pull,)}
        else:
            private = (download.common_items.t() @ pull).unsqueeze(0)
            common = pull @ download.private_items[0].t()
            gradients |= {"private_items": (private,), "common_items": (common,)}
        gradients[TOWER] = network(full, TOWER)
        return Upload(gradients, float(full["squared_error"]), int(full["n_ratings"]))

    def item_gradient(self, message: Message) -> Tensor:
        """Server: the answer's gradient of the item table as the device received it."""
        return _long(message)[self._table]

    def _whole(self, download: Download) -> dict[str, Tensor]:
        """What the device is sent, before it is rounded."""
        common, private = download.common_items, download.private_items
        literal = self._table == "common_items"
        return {
            "user_vectors": download.user_vectors,
            **({"private_items": private} if literal else {}),
            self._table: common if literal else common @ private[0],
            "item_offsets": download.item_offsets,
            "item_features": download.item_features,
            **flat(TOWER, download.item_tower),
        }

    def _short(self, message: dict[str, Tensor], names: list[str]) -> Message:
        """The message with these tensors as eight-bit numbers, if that is the layout."""
        for name in names if self.names_items else ():
            message[name], message[f"{name}{UNIT}"] = to_int8(message[name], self._draw)
        return message


def _long(message: Message) -> dict[str, Tensor]:
    """The message with all numbers in full."""
    return {
        name: from_int8(tensor, message[f"{name}{UNIT}"]) if tensor.dtype == torch.int8 else tensor
        for name, tensor in message.items()
        if not name.endswith(UNIT)
    }


def _totals(upload: Upload) -> dict[str, Tensor]:
    return {
        "squared_error": torch.tensor(upload.squared_error, dtype=torch.float64),
        "n_ratings": torch.tensor(upload.n_ratings, dtype=torch.int32),
    }


def restricted(download: Download, rows: Tensor) -> Download:
    """``download`` with only some of its item rows."""
    return replace(
        download,
        common_items=download.common_items.index_select(0, rows),
        item_offsets=download.item_offsets.index_select(0, rows),
        item_features=download.item_features.index_select(0, rows),
    )
