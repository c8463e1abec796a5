"""How one device's download and upload travel: three layouts of the same round.

Each layout turns what the server knows, a :class:`Download` of one device, into a message, the
message into the download that ``device_step`` reads, its upload into a message, and that message
into the gradients that the server wants. The device's code is the same under all of them.
"""

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from metaem_core.config.pretrain import Layout
from metaem_core.federated.encoding import Contract, Message, contract_of
from metaem_core.federated.messages import Download, Upload
from metaem_core.federated.quantization import from_int8, to_int8

TOWER = "item_tower."


class Payload(Protocol):
    """One layout. ``download`` is always that of one device (S = 1)."""

    names_items: bool  # whether a device asks for the rows that it needs

    def pack(self, download: Download) -> Message:
        """Server: what the device is sent."""
        ...

    def unpack(self, message: Message, relu_last: bool) -> Download:
        """Device: what it computes with."""
        ...

    def answer(self, upload: Upload) -> Message:
        """Device: what it sends back."""
        ...

    def answer_contract(self, download: Download) -> Contract:
        """Server: the only form of answer that it reads."""
        ...

    def gradients(self, message: Message, download: Download) -> Upload:
        """Server: the answer as gradients of ``download``."""
        ...

    def item_gradient(self, message: Message) -> Tensor:
        """Server: the answer's gradient of the item table as the device received it."""
        ...


class LiteralPayload:
    """As the paper's algorithm reads: V^c whole and V^p down, their gradients up."""

    names_items = False

    def pack(self, download: Download) -> Message:
        return {
            "user_vectors": download.user_vectors,
            "private_items": download.private_items,
            "common_items": download.common_items,
            "item_offsets": download.item_offsets,
            "item_features": download.item_features,
            **_tower(download.item_tower),
        }

    def unpack(self, message: Message, relu_last: bool) -> Download:
        return Download(
            message["user_vectors"],
            message["private_items"],
            message["common_items"],
            message["item_offsets"],
            message["item_features"],
            _tower_of(message),
            relu_last,
            frozenset({"user_vectors", "private_items", "common_items", "item_tower"}),
        )

    def answer(self, upload: Upload) -> Message:
        sums = upload.gradients
        plain = {name: sums[name][0] for name in sums if name != "item_tower"}
        return {**plain, **_tower(sums["item_tower"]), **_totals(upload)}

    def answer_contract(self, download: Download) -> Contract:
        return _answer_to(self.pack(download))

    def gradients(self, message: Message, download: Download) -> Upload:
        names = ("user_vectors", "private_items", "common_items")
        gradients = {name: (message[name],) for name in names}
        return _upload({**gradients, "item_tower": _tower_of(message)}, message)

    def item_gradient(self, message: Message) -> Tensor:
        return message["common_items"]


class ProductPayload:
    """``V_ui = V^c V^p`` (Eq. 2) down and its gradient up: the same gradient in k_p / k_c bytes."""

    names_items = False

    def pack(self, download: Download) -> Message:
        return {
            "user_vectors": download.user_vectors,
            "items": download.common_items @ download.private_items[0],
            "item_offsets": download.item_offsets,
            "item_features": download.item_features,
            **_tower(download.item_tower),
        }

    def unpack(self, message: Message, relu_last: bool) -> Download:
        items = message["items"]
        return Download(
            message["user_vectors"],
            torch.eye(items.shape[1], dtype=items.dtype).unsqueeze(0),
            items,
            message["item_offsets"],
            message["item_features"],
            _tower_of(message),
            relu_last,
            frozenset({"user_vectors", "common_items", "item_tower"}),
        )

    def answer(self, upload: Upload) -> Message:
        sums = upload.gradients
        return {
            "user_vectors": sums["user_vectors"][0],
            "items": sums["common_items"][0],
            **_tower(sums["item_tower"]),
            **_totals(upload),
        }

    def answer_contract(self, download: Download) -> Contract:
        return _answer_to(self.pack(download))

    def gradients(self, message: Message, download: Download) -> Upload:
        pull, private = message["items"], download.private_items[0]
        gradients = {
            "user_vectors": (message["user_vectors"],),
            "private_items": ((download.common_items.t() @ pull).unsqueeze(0),),
            "common_items": (pull @ private.t(),),
            "item_tower": _tower_of(message),
        }
        return _upload(gradients, message)

    def item_gradient(self, message: Message) -> Tensor:
        return message["items"]


class RowsPayload:
    """The product's rows that the device requests, and MLP_item, as eight-bit numbers.

    Gradients of rows travel as eight-bit numbers too; those of MLP_item and of the user in full.
    """

    names_items = True

    def __init__(self, draw: torch.Generator) -> None:
        """``draw`` decides between rounding up and down."""
        self.draw, self._product = draw, ProductPayload()

    def pack(self, download: Download) -> Message:
        message = dict(self._product.pack(download))
        for name in [n for n in message if n == "items" or n.startswith(TOWER)]:
            message |= self._short(name, message[name])
        return message

    def unpack(self, message: Message, relu_last: bool) -> Download:
        return self._product.unpack(_long(message), relu_last)

    def answer(self, upload: Upload) -> Message:
        message = dict(self._product.answer(upload))
        return {**message, **self._short("items", message["items"])}

    def answer_contract(self, download: Download) -> Contract:
        contract = dict(self._product.answer_contract(download))
        dtype, (rows, width) = contract["items"]
        return contract | {"items": (torch.int8, (rows, width)), "items.unit": (dtype, (rows,))}

    def gradients(self, message: Message, download: Download) -> Upload:
        return self._product.gradients(_long(message), download)

    def item_gradient(self, message: Message) -> Tensor:
        return self._product.item_gradient(_long(message))

    def _short(self, name: str, values: Tensor) -> dict[str, Tensor]:
        multiples, units = to_int8(_rows(values), self.draw)
        return {name: multiples.view_as(values), f"{name}.unit": units}


def _long(message: Message) -> dict[str, Tensor]:
    full = {name: tensor for name, tensor in message.items() if not name.endswith(".unit")}
    for name, tensor in full.items():
        if tensor.dtype == torch.int8:
            values = from_int8(_rows(tensor), message[f"{name}.unit"])
            full[name] = values.view_as(tensor)
    return full


def _rows(values: Tensor) -> Tensor:
    return values.view(-1, values.shape[-1])  # a bias is one row


def _tower(parameters: tuple[Tensor, ...]) -> dict[str, Tensor]:
    return {f"{TOWER}{i}": parameter for i, parameter in enumerate(parameters)}


def _tower_of(message: Message) -> tuple[Tensor, ...]:
    layers = sum(name.startswith(TOWER) and not name.endswith(".unit") for name in message)
    return tuple(message[f"{TOWER}{i}"] for i in range(layers))


def _answer_to(sent: Message) -> Contract:
    """A gradient for all that was sent but the items' constants, and the totals."""
    answered = {n: t for n, t in sent.items() if n not in ("item_offsets", "item_features")}
    return contract_of({**answered, **_totals(Upload({}, 0.0, 0))})


def _totals(upload: Upload) -> dict[str, Tensor]:
    return {
        "squared_error": torch.tensor(upload.squared_error, dtype=torch.float64),
        "n_ratings": torch.tensor(upload.n_ratings, dtype=torch.int32),
    }


def _upload(gradients: dict[str, tuple[Tensor, ...]], message: Message) -> Upload:
    return Upload(gradients, float(message["squared_error"]), int(message["n_ratings"]))


def payload_of(layout: Layout, draw: torch.Generator) -> Payload:
    """The layout by its name."""
    if layout == "rows":
        return RowsPayload(draw)
    return LiteralPayload() if layout == "literal" else ProductPayload()


def restricted(download: Download, rows: Tensor) -> Download:
    """``download`` with only some of its item rows."""
    return replace(
        download,
        common_items=download.common_items.index_select(0, rows),
        item_offsets=download.item_offsets.index_select(0, rows),
        item_features=download.item_features.index_select(0, rows),
    )
