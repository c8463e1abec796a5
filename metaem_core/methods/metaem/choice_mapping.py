"""MetaEM's half of choice, stage 2: the mapping between two domains (Algorithm 2), in closed form.

One part is distance-oriented: ridges from source features to target vectors (Eq. 12). The other has
the rating task's aim (Eqs. 13 and 14 with ones for choices): a ridge from the leading directions of
the source to what the overlap's users chose, item by item, around the items' popularity. Both need
sums over the devices of the training overlap alone.
"""

import torch
from torch import Tensor

from metaem_core.models.choice_mapping import OverlapSums

CONSTANT = 20.0  # damping of an item's share in the overlap towards its share among all users


def fit_vectors(sums: OverlapSums, items: Tensor, size: int, damping: float) -> Tensor:
    """``V W'`` (n, 1 + size) with ``W = argmin |F W - U|^2 + ridge |W|^2``.

    Args:
        items: V, target items along its directions (n, k), of which ``size`` are read.
        damping: of a feature, in per cent of the overlap's users; the constant has none.
    """
    wide = 1 + size
    square = sums.square[:wide, :wide]
    ridge = torch.full((wide,), damping / 100 * sums.n_users, dtype=square.dtype)
    ridge[0] = 1e-9 * sums.n_users
    weights = torch.linalg.solve(square + ridge.diag(), sums.cross[:wide, :size])
    table: Tensor = items[:, :size] @ weights.T
    return table


def fit_leading(sums: OverlapSums, share: Tensor, damping: float) -> Tensor:
    """``B`` (n, 1 + p), with ``q`` added to its first column, which multiplies a one:

    ``B = argmin |Y - 1 q' - G B'|^2 + damping |B|^2`` for the choices Y of the overlap; 0 for an
    item whose row was not added up.

    Args:
        share: q, the share of the target's users who chose each item (n,).
        damping: of a leading direction; the constant's is CONSTANT.
    """
    ridge = torch.full((len(sums.leading),), damping, dtype=sums.leading.dtype)
    ridge[0] = CONSTANT
    summed = sums.chosen[:, :1] > 0.5
    left = torch.where(summed, sums.chosen - torch.outer(share, sums.leading[0]), 0.0)
    table: Tensor = torch.linalg.solve(sums.leading + ridge.diag(), left.T).T
    table[:, 0] += share
    return table
