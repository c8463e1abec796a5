"""MetaEM's half of choice, stage 2: the mapping between two domains (Algorithm 2), in closed form.

One part is distance-oriented: ridges from source features to target vectors (Eq. 12). The other has
the rating task's aim (Eqs. 13 and 14 with ones for choices): a ridge from the leading directions of
the source to what the overlap's users chose, item by item, around the items' popularity. Both need
sums over the devices of the training overlap alone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from metaem_core.models.choice_mapping import ChoiceScorer, OverlapSums

CONSTANT = 20.0  # damping of an item's share in the overlap towards its share among all users


@dataclass(frozen=True)
class VectorMapping:
    """The distance-oriented mapping of one size."""

    weights: Tensor  # W (1 + size, size)
    inverse: Tensor  # (F'F + ridge)^-1
    items: Tensor  # target items along its directions (n, size)

    def single(self) -> "VectorMapping":
        """In float32."""
        return VectorMapping(self.weights.float(), self.inverse.float(), self.items.float())


@dataclass(frozen=True)
class LeadingMapping:
    """The ridge from leading directions to choices, and what its scores weigh."""

    table: Tensor  # (n, 1 + p)
    inverse: Tensor
    weight: float

    def single(self) -> "LeadingMapping":
        """In float32."""
        return LeadingMapping(self.table.float(), self.inverse.float(), self.weight)


def fit_vectors(sums: OverlapSums, items: Tensor, size: int, damping: float) -> VectorMapping:
    """``W = argmin |F W - U|^2 + ridge |W|^2``, the constant not damped.

    Args:
        items: target items along its directions (n, k).
        damping: of a feature, in per cent of the overlap's users.
    """
    wide = 1 + size
    square = sums.square[:wide, :wide]
    ridge = torch.full((wide,), damping / 100 * sums.n_users, dtype=square.dtype)
    ridge[0] = 1e-9 * sums.n_users
    inverse = torch.linalg.inv(square + ridge.diag())
    return VectorMapping(inverse @ sums.cross[:wide, :size], inverse, items[:, :size])


def fit_leading(sums: OverlapSums, share: Tensor, damping: float, weight: float) -> LeadingMapping:
    """``B = argmin |Y - 1 q' - G B|^2 + damping |B|^2`` for the choices Y; ``1 q' + G B`` scores.

    Args:
        share: q, the share of the target's users who chose each item (n,).
        damping: of a leading direction; the constant's is CONSTANT.
    """
    ridge = torch.full((len(sums.leading),), damping, dtype=sums.leading.dtype)
    ridge[0] = CONSTANT
    inverse = torch.linalg.inv(sums.leading + ridge.diag())
    table = (sums.chosen - torch.outer(share, sums.leading[0])) @ inverse
    table[:, 0] += share
    return LeadingMapping(table, inverse, weight)


def scorer(vectors: list[VectorMapping], leading: LeadingMapping) -> ChoiceScorer:
    """Of both parts."""
    tables = [each.items @ each.weights.T for each in vectors] + [leading.table]
    return ChoiceScorer.of([table.float() for table in tables], leading.weight)
