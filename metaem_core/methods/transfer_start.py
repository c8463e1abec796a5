"""Where the calibrated mapping starts: at bias transfer, with taste carried over linearly."""

import numpy as np
import torch
from torch import Tensor

from metaem_core.bias import fitted_biases
from metaem_core.methods.bias_transfer import overlap_ratings
from metaem_core.methods.mapping_config import MappingConfig
from metaem_core.models.domain import DomainModel
from metaem_core.models.mlp import Parameters
from metaem_core.pair import DomainPair
from metaem_core.ratings import Floats, Ints, Ratings
from metaem_core.traits import USER_TRAITS, ItemScale

INTERACTION = 2.5  # damping of a habit times an item trait, against that of the habit alone
TASTE_GAIN = 0.1  # the mapping learns taste this much slower than bias


def identity(size: int, size_out: int, dtype: torch.dtype) -> Parameters:
    """The start that leaves all to the network."""
    zeros, ones = torch.zeros(size_out, dtype=dtype), torch.ones(size_out, dtype=dtype)
    weight = torch.zeros(size_out, size, dtype=dtype)
    return torch.zeros(size, dtype=dtype), torch.ones(size, dtype=dtype), weight, zeros, ones


def transfer_lines(
    vectors: Tensor, target: DomainModel, pair: DomainPair, config: MappingConfig
) -> Parameters:
    """Bias transfer as a start, habits and taste through matrices fitted to what that leaves.

    Both take one statistics round each: devices of the training overlap send sums.
    """
    k_u, k_s = target.user_embeddings.shape[1], vectors.shape[1] - USER_TRAITS
    known = vectors[torch.from_numpy(np.unique(pair.source.users))]
    centre, scale = known.mean(0), 1 / known.std(0, correction=0).clamp_min(1e-6)
    scale[:k_s] /= k_s**0.5  # taste as a whole weighs as much as one trait
    overlap, persons = overlap_ratings(pair)
    habits = ((vectors - centre) * scale)[:, k_s:].numpy()
    line, left = trait_line(habits, pair, overlap, persons, config.trait_damping)
    taste = taste_line(vectors[:, :k_s], target, overlap, persons, left, config.taste_damping)
    weight = torch.zeros(k_u + len(line), vectors.shape[1], dtype=vectors.dtype)
    constant, gain = weight.new_zeros(len(weight)), weight.new_full((len(weight),), TASTE_GAIN)
    weight[k_u:, k_s:], constant[k_u:], gain[k_u] = line[:, 1:], line[:, 0], 1.0
    weight[:k_u, :k_s], constant[:k_u] = taste / scale[:k_s], taste @ centre[:k_s]
    return centre, scale, weight, constant, gain


def trait_line(
    habits: Floats, pair: DomainPair, overlap: Ratings, persons: Ints, damping: float
) -> tuple[Tensor, Floats]:
    """How habits (m, t) weigh the item traits: a ridge over the training overlap's ratings.

    A rating is compared with its item's bias as it were without it: it will not be inside a cold
    user's. A device sums (3 (t + 1))^2 products.

    Returns:
        Weights (3, 1 + t) of a constant and the habits, and what they leave of each rating (R,).
    """
    biases = fitted_biases(pair.target)
    mine = np.isin(pair.target.users, pair.train_target)
    bias = biases.item_without(pair.target)[mine]
    counts = np.bincount(pair.target.items, minlength=pair.target.n_items)
    traits = ItemScale.of(pair.target, biases).traits(bias, counts[overlap.items] - 1)
    known = np.column_stack([np.ones(len(habits)), habits])[persons]
    products = (traits[:, :, None] * known[:, None, :]).reshape(len(bias), -1).astype(np.float64)
    y = overlap.values - biases.mean - bias
    square = products.T @ products
    damped = np.full((traits.shape[1], known.shape[1]), damping * INTERACTION)
    damped[0, 2:], damped[0, :2] = damping, 0.0  # the constant and the bias are carried in full
    square[np.diag_indices_from(square)] += damped.ravel()
    line = np.linalg.solve(square, products.T @ y)
    left = (y - products @ line).astype(np.float32)
    return torch.from_numpy(line.reshape(traits.shape[1], -1).astype(np.float32)), left


def taste_line(
    tastes: Tensor, target: DomainModel, overlap: Ratings, persons: Ints, y: Floats, damping: float
) -> Tensor:
    """The W (k_u, k_s) whose ``W u . item vector`` is closest to ``y``, a ridge of ``damping``.

    It is sought in the main directions of either side, as many as V^c V^p has: d = min(k_c, k_p).
    A device sums d^4 products.
    """
    size = min(target.common_items.shape[1], target.item_tower[0].shape[1])
    items = target.item_vectors()
    seen, given = _main_directions(tastes, size), _main_directions(items, size)
    x = (tastes @ seen)[torch.from_numpy(persons)].double()
    z = (items @ given)[torch.from_numpy(overlap.items)].double()
    products = (z.unsqueeze(2) * x.unsqueeze(1)).flatten(1)  # (R, d * d)
    square = products.T @ products
    square.diagonal().add_(damping)
    fitted = torch.linalg.solve(square, products.T @ torch.from_numpy(y).double())
    core: Tensor = fitted.view(z.shape[1], x.shape[1]).to(tastes.dtype)
    return given @ core @ seen.T


def _main_directions(vectors: Tensor, size: int) -> Tensor:
    """The first principal directions of uncentred rows, in columns (k, size)."""
    directions: Tensor = torch.linalg.eigh(vectors.T @ vectors).eigenvectors
    return directions[:, -size:]
