"""MetaEM (Zheng et al.), stage 3: ratings for users new to the target (Section 3.5, Eq. 13)."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from metaem_core.data.pair import Predict
from metaem_core.data.ratings import Floats, Ints
from metaem_core.models.metaem import DomainModel


def cold_predictor(embed: Callable[[Tensor], Tensor], target: DomainModel) -> Predict:
    """Eq. 13 for users without a target row.

    Args:
        embed: source indices (B,) -> mapped vectors u_hat^t (B, k_u).
        target: the pretrained target domain.
    """

    def predict(users: Ints, items: Ints) -> Floats:
        order = np.argsort(users, kind="stable")
        distinct, owner = np.unique(users[order], return_inverse=True)
        with torch.no_grad():
            vectors = embed(torch.from_numpy(distinct))
            rated = target.rate(vectors, torch.from_numpy(owner), torch.from_numpy(items[order]))
        ratings = np.empty(len(users), np.float32)
        ratings[order] = rated.numpy()
        return ratings

    return predict
