"""EASE^R (Steck 2019) on the joint matrix: each item from all others, linear, in closed form."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.sparse import csr_matrix
from torch import Tensor

from metaem_core.config.choice import EaseConfig
from metaem_core.data.choices import ChoicePair, Scores
from metaem_core.methods.choice_baselines.joint import Joint, TooLarge, gram, ones


def ease(pair: ChoicePair, config: EaseConfig) -> Scores:
    """``x B`` of a user's source choices x; ``B_ij = -P_ij / P_jj``, ``P = (X'X + l2)^-1``.

    Raises:
        TooLarge: more than ``most_items`` items, whose Gram matrix would not fit in memory.
    """
    n_items = pair.source.n_items + pair.target.n_items
    if n_items > config.most_items:
        raise TooLarge(
            f"EASE inverts a matrix of {n_items} x {n_items} items, more than most_items = "
            f"{config.most_items}"
        )
    joint, source = Joint.of(pair), ones(pair.source)
    inverse = _inverse(ones(joint.choices), config.l2)
    first = joint.n_source_items
    weights = -inverse[:first, first:] / inverse.diagonal()[first:]

    def scores(users: Tensor) -> Tensor:
        return torch.from_numpy(source[users.numpy()] @ weights)

    return scores


def _inverse(x: csr_matrix, l2: float) -> NDArray[np.float32]:
    """``(X'X + l2)^-1`` in the place of X'X; only its upper triangle is right."""
    square = gram(x.T.tocsr())
    square[np.diag_indices_from(square)] += l2
    root, _ = lapack.spotrf(square.T, lower=0, clean=0, overwrite_a=1)
    inverse: NDArray[np.float32] = lapack.spotri(root, lower=0, overwrite_c=1)[0]
    return inverse
