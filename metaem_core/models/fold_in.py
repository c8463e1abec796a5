"""Fold-in: the user vector that best explains a user's ratings of fixed items.

It is the reference for a cold user's transformed vector: both live in the space of these items.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metaem_core.data.bias import USER_DAMPING, damped_mean
from metaem_core.models.metaem import DomainModel
from metaem_core.models.mlp import mlp

BLOCK = 1 << 12  # ratings whose (k, k) products are held at once


@dataclass(frozen=True)
class Rated:
    """Ratings (R,) of some users of a domain (B,); ``owner`` is each one's place among them."""

    users: Tensor
    owner: Tensor
    items: Tensor
    values: Tensor

    def residuals(self, offsets: Tensor, centred: bool) -> Tensor:
        """``r - offset_j - b`` (R,), where b is the damped mean of each user's ``r - offset_j``."""
        residuals = self.values - offsets[self.items]
        if not centred:
            return residuals
        owner = self.owner.numpy()
        bias = damped_mean(owner, residuals.numpy(), len(self.users), USER_DAMPING)
        return residuals - torch.from_numpy(bias.astype(np.float32))[self.owner]


def fold_in(
    seen: Tensor, residuals: Tensor, owner: Tensor, users: int, damping: float | Tensor
) -> Tensor:
    """``argmin_u sum (y - u . v_j)^2 + damping |u|^2`` of every user, in closed form (B, k).

    Args:
        seen: the item vector v_j of each rating, for its user (R, k).
        residuals: y of each rating (R,).
        owner: the user behind each rating (R,).
        users: B.
        damping: of all users, or of each (B, 1).
    """
    k = seen.shape[1]
    square = torch.zeros(users, k, k, dtype=torch.float64)
    product = torch.zeros(users, k, dtype=torch.float64)
    for rows in torch.split(torch.arange(len(residuals)), BLOCK):
        items, whose = seen[rows].double(), owner[rows]
        square.index_add_(0, whose, items.unsqueeze(2) * items.unsqueeze(1))
        product.index_add_(0, whose, items * residuals[rows].double().unsqueeze(1))
    square.diagonal(dim1=1, dim2=2).add_(damping)
    solved: Tensor = torch.linalg.solve(square, product)
    return solved.to(seen.dtype)


def private_view(model: DomainModel, private_items: Tensor, rated: Rated) -> Tensor:
    """``MLP_item(V^c_j V^p_i)`` of every rating (R, k_u), for users with ``private_items``."""
    common = model.common_items[rated.items].unsqueeze(1)
    items = torch.bmm(common, private_items[rated.owner]).squeeze(1)
    return model.weighed(mlp(model.item_tower, items, model.relu_last))


def closeness(target: Tensor, transformed: Tensor) -> tuple[float, float]:
    """Mean distance of each user's two vectors (B, k), and that of two different users' vectors."""
    distances = torch.cdist(target.double(), transformed.double())
    own, users = float(distances.diagonal().mean()), len(target)
    others = (float(distances.sum()) - own * users) / max(users * (users - 1), 1)
    return own, others
