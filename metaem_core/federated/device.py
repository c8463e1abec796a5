"""The device half of both stages: the loss and its gradient, by the forward pass of models."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from metaem_core.federated.messages import Download, Upload
from metaem_core.federated.private import Private
from metaem_core.models.forward import BLOCK, factors, offsets, own_vectors, pack
from metaem_core.models.mlp import Parameters, Perceptron


@dataclass(frozen=True, repr=False)
class PrivateRatings(Private):
    """D_i of a cohort, ordered by device; it stays where it is."""

    owner: Tensor  # (R,) position in the cohort, ascending
    rows: Tensor  # (R,) row of the downloaded item table
    values: Tensor  # (R,)


@torch.inference_mode()
def device_step(
    download: Download,
    ratings: PrivateRatings,
    rounding: Callable[[Tensor], Tensor] | None = None,
) -> Upload:
    """Algorithm 1, line 7, and Algorithm 2, line 5: the gradient of what was downloaded.

    The loss is ``sum (r - r_hat)^2`` over the cohort's ratings (Eqs. 8 and 14). ``rounding`` is
    what happens on the way to each device's rows of ``V^c V^p`` and to their gradients.
    """
    grid = pack(ratings.owner, len(download.user_vectors))
    slots, common, private = factors(download, ratings.rows, grid)
    items = grid.collect(torch.bmm(common, private))  # Eq. 2
    if rounding is not None:
        items = rounding(items)
    features = download.item_features.index_select(0, ratings.rows)
    error = ratings.values - offsets(download, features, ratings.owner, ratings.rows)
    vectors, d_items, d_tower = _fit(download, ratings.owner, items, error)
    pull = -2 * error  # the loss's derivative by r_hat
    d_users = _sums(torch.cat([vectors, features], 1), grid.ratings, pull)  # of Eq. 7
    d_slots = grid.spread(d_items if rounding is None else rounding(d_items))
    d_private = _sums(
        torch.bmm(common.transpose(1, 2), d_slots).flatten(1), grid.groups
    )  # of Eq. 2
    gradients: dict[str, Parameters] = {
        "item_tower": d_tower,
        "private_items": (d_private.view_as(download.private_items),),
        "user_vectors": (d_users,),
    }
    if "common_items" in download.trained:
        d_common = torch.bmm(d_slots, private.transpose(1, 2)).flatten(0, 1)  # of Eq. 2
        table = torch.zeros_like(download.common_items)
        gradients["common_items"] = (table.index_add_(0, slots, d_common),)
    gradients = {name: gradients[name] for name in sorted(download.trained)}
    return Upload(gradients, float(torch.dot(error, error)), len(error))


def _fit(
    download: Download, owner: Tensor, items: Tensor, error: Tensor
) -> tuple[Tensor, Tensor, Parameters]:
    """Takes ``u_hat . MLP_item(items)`` off ``error`` and differentiates, block by block.

    Returns:
        MLP_item of ``items`` (R, k_u), and the loss's gradients by ``items`` and by MLP_item.
    """
    most = BLOCK * torch.get_num_threads()
    blocks = 1 if download.personal_tower else max(1, -(-len(items) // most))
    tower: Perceptron | _OwnTowers
    if download.personal_tower:
        tower = _OwnTowers(download, owner)
    else:
        learns = "item_tower" in download.trained
        rows = -(-len(items) // blocks)
        tower = Perceptron(download.item_tower, download.relu_last, rows, learns)
    vectors = items.new_empty(len(items), download.item_tower[-1].shape[-1])
    gradient = torch.empty_like(items)
    taste = download.user_vectors[:, : vectors.shape[1]]
    parts = (t.chunk(blocks) for t in (owner, items, error, vectors, gradient))
    for user, x, e, y, d_x in zip(*parts, strict=True):
        own = taste.index_select(0, user)
        e.sub_((own * tower.forward(x, y)).sum(1))  # Eqs. 6 and 7
        d_x.copy_(tower.backward(own.mul_(-2 * e.unsqueeze(1))))
    return vectors, gradient, tower.gradients


class _OwnTowers:
    """MLP_item of each device (Eq. 6), differentiated by autograd."""

    def __init__(self, download: Download, owner: Tensor) -> None:
        self.relu_last = download.relu_last
        self.gradients: Parameters = ()
        with torch.inference_mode(False):
            self.parameters = tuple(p.detach().requires_grad_() for p in download.item_tower)
            self.grid = pack(owner, len(self.parameters[0]))

    def forward(self, items: Tensor, out: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            self._items = items.clone().requires_grad_()
            self._vectors = own_vectors(self.parameters, self._items, self.grid, self.relu_last)
        return out.copy_(self._vectors)

    def backward(self, pull: Tensor) -> Tensor:
        sought = (self._items, *self.parameters)
        items, *gradients = torch.autograd.grad(self._vectors, sought, pull)
        self.gradients = tuple(gradients)
        return items


def _sums(values: Tensor, counts: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sums (S, k) of each ``counts`` (S,) successive rows of ``values`` (B, k), times weights."""
    rows, start = torch.arange(len(values)), counts.cumsum(0) - counts
    return embedding_bag(rows, values, start, mode="sum", per_sample_weights=weights)
