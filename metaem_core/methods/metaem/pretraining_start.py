"""Where pretraining starts in a centred domain: at plain matrix factorisation."""

import torch
from torch import Tensor

from metaem_core.models.metaem import DomainModel
from metaem_core.models.mlp import Parameters

ITEM_STRETCH = 10.0  # V^c starts this much wider than U
META_SHRINK = 0.1  # of the meta-network's last weights


def leave_saddle(model: DomainModel, item_counts: Tensor, start: torch.Generator) -> None:
    """Start at matrix factorisation: near zero every gradient is a product of zeros.

    V^p_i starts near one projection P of k_c to k_p dimensions for everyone, MLP_item lifts it
    to k_u by Q, which is P where k_u = k_c, MLP_user returns its input:
    ``r_hat = ... + u_i . Q P^T v_j``. V^c starts wide, its first seen dimension with the item's
    bias in front.
    """
    offsets, items = model.item_offsets, model.common_items
    k_u, k_c, k_p = model.user_embeddings.shape[1], items.shape[1], model.item_tower[0].shape[1]
    projection = _orthogonal(k_c, k_p, start).to(items.dtype)
    lift = projection if k_u == k_c else _orthogonal(k_u, k_p, start).to(items.dtype)
    _make_linear(model.user_tower, torch.eye(k_u, dtype=items.dtype), start)
    _make_linear(model.item_tower, lift, start)
    *_, weight, bias = model.meta_network
    weight.mul_(META_SHRINK)
    bias.copy_(projection.flatten())
    spread = offsets.std(correction=0).clamp_min(1e-6)
    quality = (offsets - offsets.mean()) / spread
    items.mul_(ITEM_STRETCH).add_(torch.outer(quality, projection[:, 0]))
    items[item_counts == 0] = 0


def _make_linear(network: Parameters, matrix: Tensor, start: torch.Generator) -> None:
    """Give a network of three layers, or one, the weights that map ``x`` to ``matrix x``.

    Three layers do it by pairs of units: of a unit and its opposite one passes its ReLU, so both
    together pass all of it.
    """
    for parameter in network:
        parameter.zero_()
    if len(network) == 2:
        network[0].copy_(matrix)
        return
    first, _, second, _, last, _ = network
    half = len(first) // 2
    spread = _orthogonal(half, first.shape[1], start).to(first.dtype)
    gathered = matrix @ torch.linalg.pinv(spread)
    first[:half], first[half : 2 * half] = spread, -spread
    second.fill_diagonal_(1)
    last[:, :half], last[:, half : 2 * half] = gathered, -gathered


def _orthogonal(rows: int, columns: int, start: torch.Generator) -> Tensor:
    """A random matrix with orthonormal columns, or rows if those are fewer."""
    shape = max(rows, columns), min(rows, columns)
    basis: Tensor = torch.linalg.qr(torch.randn(shape, generator=start, dtype=torch.float64)).Q
    return basis if rows >= columns else basis.T
