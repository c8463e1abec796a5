"""What passes in a secure round, as bytes."""

from collections.abc import Iterable, Mapping
from dataclasses import fields

import numpy as np
import torch

from metaem_core.federated.encoding import (
    BadMessage,
    Contract,
    Message,
    contract_of,
    decode,
    encode,
)
from metaem_core.federated.secure.aggregation import PublicKeys, Revealed
from metaem_core.federated.secure.coding import Closing
from metaem_core.federated.secure.primitives import Words, usable

KEYS, SEALED, SHARE = 64, 82, 34  # bytes: two public keys, two encrypted shares, place and share
KINDS = tuple(field.name for field in fields(Revealed))


def keys_message(keys: bytes) -> bytes:
    """A device's two public keys."""
    return encode({"keys": _bytes(keys)})


def read_keys(data: bytes) -> bytes:
    """The same; raises BadMessage for a key that agrees with none."""
    keys = decode(data, {"keys": (torch.uint8, (KEYS,))})["keys"].numpy().tobytes()
    if not all(map(usable, pair_of(keys))):
        raise BadMessage("a key that agrees with none")
    return keys


def pair_of(keys: bytes) -> PublicKeys:
    return PublicKeys(keys[: KEYS // 2], keys[KEYS // 2 :])


def by_place_message(rows: Mapping[int, bytes], width: int) -> bytes:
    """Strings of ``width`` bytes by place in the cohort."""
    return encode(_by_place(rows, width))


def read_by_place(data: bytes, width: int) -> dict[int, bytes]:
    return _rows(decode(data, _form(width)), "")


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
    message: dict[str, torch.Tensor] = {}
    for kind, shares in vars(revealed).items():
        rows = {place: at.to_bytes(2, "big") + share for place, (at, share) in shares.items()}
        message |= {f"{kind}.{name}": part for name, part in _by_place(rows, SHARE).items()}
    return encode(message)


def read_revealed(data: bytes) -> Revealed:
    form = {f"{kind}.{name}": shape for kind in KINDS for name, shape in _form(SHARE).items()}
    message = decode(data, form)
    return Revealed(
        *(
            {
                place: (int.from_bytes(row[:2], "big"), row[2:])
                for place, row in _rows(message, f"{kind}.").items()
            }
            for kind in KINDS
        )
    )


def closing_message(closing: Closing) -> bytes:
    """The round's totals."""
    return encode(_closing(closing))


def read_closing(data: bytes) -> Closing:
    message = decode(data, contract_of(_closing(Closing(0, 0.0))))
    return Closing(int(message["n_ratings"]), float(message["curvature"]))


def _closing(closing: Closing) -> Message:
    return {
        "n_ratings": torch.tensor(closing.n_ratings, dtype=torch.int64),
        "curvature": torch.tensor(closing.curvature, dtype=torch.float64),
    }


def _by_place(rows: Mapping[int, bytes], width: int) -> Message:
    """Strings of ``width`` bytes by place in the cohort."""
    places = sorted(rows)
    data = _bytes(b"".join(rows[place] for place in places))
    return {"places": torch.tensor(places, dtype=torch.int64), "bytes": data.view(-1, width)}


def _form(width: int) -> Contract:
    return {"places": (torch.int64, (-1,)), "bytes": (torch.uint8, (-1, width))}


def _rows(message: Message, prefix: str) -> dict[int, bytes]:
    places, rows = message[f"{prefix}places"], message[f"{prefix}bytes"]
    if len(places) != len(rows):
        raise BadMessage(f"{len(places)} places for {len(rows)} strings")
    return {p: row.tobytes() for p, row in zip(places.tolist(), rows.numpy(), strict=True)}


def _bytes(data: bytes) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())
