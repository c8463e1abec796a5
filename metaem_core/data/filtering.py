"""The filter: one rating per (user, item), then the k-core of users and items."""

from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from metaem_core.data.ratings import Ints

Codes = NDArray[np.uint32] | Ints


def peel(users: Codes, items: Codes, k: int) -> Iterator[Ints]:
    """All rows, then those that survive each round of removing users and items below ``k``."""
    rows = np.arange(len(users))
    dropped = True
    while dropped:
        yield rows
        user, item = users[rows], items[rows]
        keep = (np.bincount(user)[user] >= k) & (np.bincount(item)[item] >= k)
        dropped = not keep.all()
        rows = rows[keep]


def core(users: Codes, items: Codes, k: int) -> Ints:
    """The rows in the ``k``-core."""
    (rows,) = deque(peel(users, items, k), maxlen=1)
    return rows


def latest(users: Codes, items: Codes, values: NDArray[np.floating], times: Ints) -> Ints:
    """One row per (user, item), in that order: the latest, and of equally late the highest."""
    pair = users.astype(np.uint64) << np.uint64(32) | items.astype(np.uint64)
    order = np.argsort(pair)
    ordered = pair[order]
    repeats = ordered[1:] == ordered[:-1]
    if repeats.any():
        # few rows repeat a pair, so only those pay for comparing time and value
        tied = np.append(repeats, False) | np.append(False, repeats)
        again = order[tied]
        order[tied] = again[np.lexsort((values[again], times[again], pair[again]))]
    last = np.append(~repeats, True)[: len(order)]
    rows: Ints = order[last]
    return rows
