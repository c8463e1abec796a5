"""The forward pass of a domain: private item embeddings and ratings (Eqs. 2, 6 and 7)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metaem_core.models.mlp import Parameters, mlp

GROUP = 8  # ratings a row of the padded grid; short users waste at most 7 slots
BLOCK = 1280  # ratings at a time and thread in MLP_item: its layers stay in a core's cache


@dataclass(frozen=True)
class PredictionInputs:
    """All that Eqs. 2, 6 and 7 read, for S users and n items."""

    user_vectors: Tensor  # u_hat and, if centred, weights of the item features (S, k_u + t)
    private_items: Tensor  # V^p (S, k_c, k_p)
    common_items: Tensor  # rows of V^c (n, k_c)
    item_offsets: Tensor  # mean rating + item bias (n,)
    item_features: Tensor  # one, bias, log popularity (n, t); t = 3, or 0 if uncentred
    item_tower: Parameters  # MLP_item, shared, or personal with a leading axis S
    relu_last: bool

    @property
    def personal_tower(self) -> bool:
        """Whether every user has an MLP_item of their own."""
        return self.item_tower[0].dim() == 3


def predict(inputs: PredictionInputs, owner: Tensor, rows: Tensor) -> Tensor:
    """Eqs. 2, 6 and 7: ``r_hat = offset_j + w_i . features_j + u_hat_i . MLP_item(V^c_j V^p_i)``.

    Owners ascend.

    Returns:
        Predicted ratings (R,).
    """
    grid = pack(owner, len(inputs.user_vectors))
    _, common, private = factors(inputs, rows, grid)
    items = grid.collect(torch.bmm(common, private))  # Eq. 2
    if inputs.personal_tower:
        vectors = own_vectors(inputs.item_tower, items, grid, inputs.relu_last)
    else:
        vectors = mlp(inputs.item_tower, items, inputs.relu_last)  # (R, k_u)
    taste = inputs.user_vectors[:, : vectors.shape[1]].index_select(0, owner)
    features = inputs.item_features.index_select(0, rows)
    return offsets(inputs, features, owner, rows) + (taste * vectors).sum(1)


@dataclass(frozen=True)
class RatingGrid:
    """Ratings packed in groups of at most GROUP = L that share a device."""

    owner: Tensor  # (G,) device of each group
    slots: Tensor  # (R,) place of each rating in the flat (G * L) grid
    groups: Tensor  # (S,) groups of each device
    ratings: Tensor  # (S,) ratings of each device

    def spread(self, values: Tensor) -> Tensor:
        """One row a rating (R, k) to the grid (G, L, k), zero where a slot is empty."""
        flat = values.new_zeros(len(self.owner) * GROUP, values.shape[1])
        return flat.index_copy(0, self.slots, values).view(-1, GROUP, values.shape[1])

    def collect(self, values: Tensor) -> Tensor:
        """The grid (G, L, k) to one row a rating (R, k)."""
        return values.flatten(0, 1).index_select(0, self.slots)


def factors(
    inputs: PredictionInputs, rows: Tensor, grid: RatingGrid
) -> tuple[Tensor, Tensor, Tensor]:
    """Item row of each slot (G * L,), its V^c_j (G, L, k_c), V^p_i of each group (G, k_c, k_p)."""
    slots = rows.new_zeros(len(grid.owner) * GROUP).index_copy_(0, grid.slots, rows)
    table = inputs.common_items
    common = table.index_select(0, slots).view(len(grid.owner), GROUP, table.shape[1])
    return slots, common, inputs.private_items.index_select(0, grid.owner)


def offsets(inputs: PredictionInputs, features: Tensor, owner: Tensor, rows: Tensor) -> Tensor:
    """Eq. 7 without networks: ``offset_j + w_i . features_j`` (R,), ``features`` (R, t)."""
    weights = inputs.user_vectors[:, inputs.user_vectors.shape[1] - features.shape[1] :]
    known = (weights.index_select(0, owner) * features).sum(1)
    return known.add_(inputs.item_offsets.index_select(0, rows))


def own_vectors(towers: Parameters, items: Tensor, grid: RatingGrid, relu_last: bool) -> Tensor:
    """Each device's MLP_item for its private item embeddings (R, k_p)."""
    own = tuple(p.index_select(0, grid.owner) for p in towers)
    return grid.collect(mlp(own, grid.spread(items), relu_last))


def pack(owner: Tensor, devices: int) -> RatingGrid:
    counts = np.bincount(owner.numpy(), minlength=devices)
    groups = -(-counts // GROUP)
    shift = (np.cumsum(groups) - groups) * GROUP - (np.cumsum(counts) - counts)
    slots = np.arange(len(owner)) + np.repeat(shift, counts)
    parts = np.repeat(np.arange(devices), groups), slots, groups, counts
    return RatingGrid(*(torch.from_numpy(part) for part in parts))
