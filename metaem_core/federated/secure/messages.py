"""What passes in a secure round, as bytes."""

from collections.abc import Iterable, Mapping
from dataclasses import fields

import numpy as np
import torch

from metaem_core.federated.encoding import BadMessage, Contract, Message, decode, encode
from metaem_core.federated.secure.aggregation import Revealed
from metaem_core.federated.secure.coding import Closing
from metaem_core.federated.secure.primitives import KEY, Words, usable

KEYS, SEALED, SHARE = 2 * KEY, 82, 2 + KEY  # bytes: public keys, encrypted shares, place and share
KINDS = tuple(f"{field.name}." for field in fields(Revealed))
CLOSING = {"n_ratings": (torch.int64, ()), "curvature": (torch.float64, ())}


def keys_message(keys: bytes) -> bytes:
    """A device's two public keys."""
    return encode({"keys": _bytes(keys)})


def read_keys(data: bytes) -> bytes:
    """The same; raises BadMessage for a key that agrees with none."""
    keys = decode(data, {"keys": (torch.uint8, (KEYS,))})["keys"].numpy().tobytes()
    if not (usable(keys[:KEY]) and usable(keys[KEY:])):
        raise BadMessage("a key that agrees with none")
    return keys


def by_place_message(rows: Mapping[int, bytes], width: int) -> bytes:
    """Strings of ``width`` bytes by place in the cohort."""
    return encode(_by_place("", rows, width))


def read_by_place(data: bytes, width: int) -> dict[int, bytes]:
    return _rows(decode(data, _form("", width)), "")


def words_message(words: Words) -> bytes:
    """A vector under masks."""
    return encode({"words": torch.from_numpy(words.view(np.int32))})


def read_words(data: bytes, count: int) -> Words:
    return decode(data, {"words": (torch.int32, (count,))})["words"].numpy().view(np.uint32)


def places_message(places: Iterable[int]) -> bytes:
    """Who arrived."""
    return encode({"places": torch.tensor(sorted(places), dtype=torch.int64)})


def read_places(data: bytes) -> frozenset[int]:
    return frozenset(decode(data, {"places": (torch.int64, (-1,))})["places"].tolist())


def revealed_message(revealed: Revealed) -> bytes:
    """A share of one secret of each neighbour."""
    own, masks = (
        _by_place(kind, shares, SHARE)
        for kind, shares in zip(KINDS, vars(revealed).values(), strict=True)
    )
    return encode({**own, **masks})


def read_revealed(data: bytes) -> Revealed:
    own, masks = (_form(kind, SHARE) for kind in KINDS)
    message = decode(data, {**own, **masks})
    return Revealed(*(_rows(message, kind) for kind in KINDS))


def closing_message(closing: Closing) -> bytes:
    """The round's totals."""
    values = zip(CLOSING.items(), closing, strict=True)
    return encode({name: torch.tensor(value, dtype=form[0]) for (name, form), value in values})


def read_closing(data: bytes) -> Closing:
    message = decode(data, CLOSING)
    return Closing(int(message["n_ratings"]), float(message["curvature"]))


def _by_place(kind: str, rows: Mapping[int, bytes], width: int) -> Message:
    places = sorted(rows)
    data = _bytes(b"".join(rows[place] for place in places)).view(-1, width)
    return {f"{kind}places": torch.tensor(places, dtype=torch.int64), f"{kind}bytes": data}


def _form(kind: str, width: int) -> Contract:
    return {f"{kind}places": (torch.int64, (-1,)), f"{kind}bytes": (torch.uint8, (-1, width))}


def _rows(message: Message, kind: str) -> dict[int, bytes]:
    places, rows = message[f"{kind}places"], message[f"{kind}bytes"]
    if len(places) != len(rows):
        raise BadMessage(f"{len(places)} places for {len(rows)} strings")
    return {p: row.tobytes() for p, row in zip(places.tolist(), rows.numpy(), strict=True)}


def _bytes(data: bytes) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())
