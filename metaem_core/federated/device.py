"""The device half of both stages: prediction module, loss and gradient."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metaem_core.federated.protocol import Download, Upload, tensors_of
from metaem_core.models.mlp import mlp, stacked_mlp

GROUP = 8  # ratings a row of the padded grid; short users waste at most 7 slots


@dataclass(frozen=True)
class PrivateRatings:
    """D_i of a cohort, ordered by device; it stays where it is."""

    owner: Tensor  # (R,) position in the cohort, ascending
    rows: Tensor  # (R,) row of the downloaded item table
    values: Tensor  # (R,)


@dataclass(frozen=True)
class _Grid:
    """Ratings packed in groups of at most GROUP that share a device."""

    owner: Tensor  # (G,) device of each group
    slots: Tensor  # (R,) place of each rating in the flat (G * GROUP) grid


def device_step(download: Download, ratings: PrivateRatings) -> Upload:
    """Algorithm 1, line 7, and Algorithm 2, line 5: the gradient of what was downloaded.

    The loss is ``sum (r - r_hat)^2`` over the cohort's ratings (Eqs. 8 and 14).
    """
    leaves = {
        name: tuple(t.detach().requires_grad_() for t in tensors_of(download, name))
        for name in sorted(download.trained)
    }
    received = download.replaced(leaves)
    error = ratings.values - predict(received, ratings.owner, ratings.rows)
    loss = torch.dot(error, error)
    flat = torch.autograd.grad(loss, [t for group in leaves.values() for t in group])
    gradients, start = {}, 0
    for name, group in leaves.items():
        gradients[name] = flat[start : start + len(group)]
        start += len(group)
    return Upload(gradients, float(loss.detach()), len(ratings.values))


def predict(download: Download, owner: Tensor, rows: Tensor) -> Tensor:
    """Eqs. 2, 6 and 7: ``r_hat = offset_j + w_i . traits_j + u_hat_i . MLP_item(V^c_j V^p_i)``.

    Owners ascend.

    Returns:
        Predicted ratings (R,).
    """
    grid = _pack(owner, len(download.user_vectors))
    grid_rows = torch.zeros(len(grid.owner) * GROUP, dtype=torch.long)
    grid_rows[grid.slots] = rows
    common = download.common_items.index_select(0, grid_rows)  # (G * L, k_c)
    common = common.view(-1, GROUP, common.shape[1])
    items = torch.bmm(common, download.private_items.index_select(0, grid.owner))  # Eq. 2
    items = _item_vectors(download, items, grid)  # (R, k_u)
    users = download.user_vectors.index_select(0, owner)
    taste, weights = users[:, : items.shape[1]], users[:, items.shape[1] :]
    traits = (weights * download.item_traits.index_select(0, rows)).sum(1)
    return download.item_offsets.index_select(0, rows) + traits + (taste * items).sum(1)


def _item_vectors(download: Download, items: Tensor, grid: _Grid) -> Tensor:
    """MLP_item over the grid's (G, L, k_p) private item embeddings, one row a rating (Eq. 6)."""
    if download.personal_tower:
        towers = tuple(p.index_select(0, grid.owner) for p in download.item_tower)
        vectors = stacked_mlp(towers, items, download.relu_last)
        return vectors.flatten(0, 1).index_select(0, grid.slots)
    return mlp(
        download.item_tower, items.flatten(0, 1).index_select(0, grid.slots), download.relu_last
    )


def _pack(owner: Tensor, devices: int) -> _Grid:
    counts = torch.bincount(owner, minlength=devices)
    groups = (counts + GROUP - 1) // GROUP
    first_rating = counts.cumsum(0) - counts
    first_slot = (groups.cumsum(0) - groups) * GROUP
    slots = torch.arange(len(owner)) + (first_slot - first_rating).index_select(0, owner)
    return _Grid(torch.repeat_interleave(groups), slots)
