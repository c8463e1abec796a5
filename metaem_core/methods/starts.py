"""Where the calibrated reading starts: as plain factors, and at bias transfer with taste."""

import numpy as np
import torch
from torch import Tensor

from metaem_core.methods.bias_transfer import fit_line, overlap_ratings
from metaem_core.models.domain import DomainModel
from metaem_core.models.mlp import Parameters
from metaem_core.pair import DomainPair
from metaem_core.ratings import Floats, Ints, Ratings

N_TRAITS = 3
ITEM_STRETCH = 10.0  # V^c starts this much wider than U
META_SHRINK = 0.1  # of the meta-network's last weights
TASTE_GAIN = 0.1  # the mapping learns taste this much slower than bias


def leave_saddle(model: DomainModel, item_counts: Tensor, start: torch.Generator) -> None:
    """Start as matrix factorisation: at the plain start every gradient is a product of zeros.

    V^p_i starts near one projection P of k_c to k_p dimensions for everyone, MLP_item lifts it
    back, MLP_user returns its input: ``r_hat = ... + u_i . P P^T v_j``. V^c starts wide, its first
    seen dimension with the item's bias in front.
    """
    offsets, items = model.item_offsets, model.common_items
    projection = _orthogonal(items.shape[1], model.item_tower[0].shape[1], start).to(items.dtype)
    _make_linear(model.user_tower, torch.eye(len(projection), dtype=items.dtype), start)
    _make_linear(model.item_tower, projection, start)
    *_, weight, bias = model.meta_network
    weight.mul_(META_SHRINK)
    bias.copy_(projection.flatten())
    spread = offsets.std(correction=0).clamp_min(1e-6)
    quality = (offsets - offsets.mean()) / spread
    items.mul_(ITEM_STRETCH).add_(torch.outer(quality, projection[:, 0]))
    items[item_counts == 0] = 0


def _make_linear(network: Parameters, matrix: Tensor, start: torch.Generator) -> None:
    """Give a three-layer network the weights that map ``x`` to ``matrix x``: pairs of units.

    Of a unit and its opposite one passes its ReLU, so both together pass all of it.
    """
    first, _, second, _, last, _ = network
    half = len(first) // 2
    spread = _orthogonal(half, first.shape[1], start).to(first.dtype)
    gathered = matrix @ torch.linalg.pinv(spread)
    for parameter in network:
        parameter.zero_()
    first[:half], first[half : 2 * half] = spread, -spread
    second.fill_diagonal_(1)
    last[:, :half], last[:, half : 2 * half] = gathered, -gathered


def _orthogonal(rows: int, columns: int, start: torch.Generator) -> Tensor:
    """A random matrix with orthonormal columns, or rows if those are fewer."""
    shape = max(rows, columns), min(rows, columns)
    basis: Tensor = torch.linalg.qr(torch.randn(shape, generator=start, dtype=torch.float64)).Q
    return basis if rows >= columns else basis.T


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
