"""Where the calibrated mapping starts: at bias transfer, with taste carried over linearly."""

import numpy as np
import torch
from torch import Tensor

from metaem_core.methods.bias_transfer import fit_line, overlap_ratings
from metaem_core.models.domain import DomainModel
from metaem_core.models.mlp import Parameters
from metaem_core.pair import DomainPair
from metaem_core.ratings import Floats, Ints, Ratings

N_TRAITS = 3
TASTE_GAIN = 0.1  # the mapping learns taste this much slower than bias


def identity(size: int, size_out: int, dtype: torch.dtype) -> Parameters:
    """The start that leaves all to the network."""
    zeros, ones = torch.zeros(size_out, dtype=dtype), torch.ones(size_out, dtype=dtype)
    weight = torch.zeros(size_out, size, dtype=dtype)
    return torch.zeros(size, dtype=dtype), torch.ones(size, dtype=dtype), weight, zeros, ones


def transfer_lines(
    vectors: Tensor, target: DomainModel, pair: DomainPair, damping: float
) -> Parameters:
    """Bias transfer as a start, and the source taste through a matrix fitted to what that leaves.

    Both take one statistics round each: devices of the training overlap send sums.
    """
    k_u = target.user_embeddings.shape[1]
    column = vectors.shape[1] - N_TRAITS
    known = vectors[torch.from_numpy(np.unique(pair.source.users))]
    centre, scale = known.mean(0), 1 / known.std(0, correction=0).clamp_min(1e-6)
    scale[:column] /= column**0.5  # taste as a whole weighs as much as one trait
    overlap, persons = overlap_ratings(pair)
    x = ((vectors - centre) * scale)[:, column].numpy()[persons]
    y = overlap.values - target.item_offsets.numpy()[overlap.items]
    slope, intercept = fit_line(x, y)
    weight = torch.zeros(k_u + 1, vectors.shape[1], dtype=vectors.dtype)
    weight[k_u, column] = slope
    constant, gain = weight.new_zeros(k_u + 1), weight.new_full((k_u + 1,), TASTE_GAIN)
    constant[k_u], gain[k_u] = intercept, 1.0
    left = y - slope * x - intercept
    taste = taste_line(vectors[:, :column], target, overlap, persons, left, damping)
    constant[:k_u] = taste @ centre[:column]
    weight[:k_u, :column] = taste / scale[:column]
    return centre, scale, weight, constant, gain


def taste_line(
    tastes: Tensor, target: DomainModel, overlap: Ratings, persons: Ints, y: Floats, damping: float
) -> Tensor:
    """The W (k_u, k_s) whose ``W u . item vector`` is closest to ``y``, a ridge of ``damping``.

    It is sought in the k_p main directions of either side, so a device sums k_p^4 products.
    """
    size = target.item_tower[0].shape[1]
    items = target.item_vectors()
    seen, given = _main_directions(tastes, size), _main_directions(items, size)
    x = (tastes @ seen)[torch.from_numpy(persons)].double()
    z = (items @ given)[torch.from_numpy(overlap.items)].double()
    products = (z.unsqueeze(2) * x.unsqueeze(1)).flatten(1)  # (R, k_p * k_p)
    square = products.T @ products
    square.diagonal().add_(damping)
    fitted = torch.linalg.solve(square, products.T @ torch.from_numpy(y).double())
    core: Tensor = fitted.view(z.shape[1], x.shape[1]).to(tastes.dtype)
    return given @ core @ seen.T


def _main_directions(vectors: Tensor, size: int) -> Tensor:
    """The first principal directions of uncentred rows, in columns (k, size)."""
    directions: Tensor = torch.linalg.eigh(vectors.T @ vectors).eigenvectors
    return directions[:, -size:]
