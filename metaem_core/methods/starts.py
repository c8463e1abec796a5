"""Where the calibrated reading starts: near plain factors, and at bias transfer."""

import numpy as np
import torch
from torch import Tensor

from metaem_core.methods.bias_transfer import fit_line, overlap_ratings
from metaem_core.models.domain import DomainModel
from metaem_core.models.mlp import Parameters
from metaem_core.pair import DomainPair

N_TRAITS = 3
ITEM_STRETCH = 4.0  # V^c starts this much wider than U
BIAS_COLUMN = 2.0  # spread of V^c's first column, the standardised item bias
TASTE_GAIN = 0.1  # the mapping learns taste this much slower than bias


def leave_saddle(model: DomainModel, start: torch.Generator) -> None:
    """Make small residuals learnable: at the plain start every gradient is a product of zeros.

    V^p_i starts near one projection for everyone, V^c_j wide and with the item's bias in front.
    """
    offsets, k = model.item_offsets, model.common_items.shape[1]
    model.common_items.mul_(ITEM_STRETCH)
    spread = offsets.std(correction=0).clamp_min(1e-6)
    model.common_items[:, 0] = BIAS_COLUMN * (offsets - offsets.mean()) / spread
    *_, weight, bias = model.meta_network
    weight.mul_(0.1)
    bias.copy_(torch.randn(bias.shape, generator=start, dtype=bias.dtype) / k**0.5)


def identity(size: int, size_out: int, dtype: torch.dtype) -> Parameters:
    """The start that leaves all to the network."""
    zeros, ones = torch.zeros(size_out, dtype=dtype), torch.ones(size_out, dtype=dtype)
    weight = torch.zeros(size_out, size, dtype=dtype)
    return torch.zeros(size, dtype=dtype), torch.ones(size, dtype=dtype), weight, zeros, ones


def bias_line(vectors: Tensor, target: DomainModel, pair: DomainPair) -> Parameters:
    """Bias transfer as a start: no taste, the target bias a fitted line in the source bias."""
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
    return centre, scale, weight, constant, gain
