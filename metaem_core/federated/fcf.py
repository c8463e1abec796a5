"""FCF (Ammad-ud-din et al. 2019): federated matrix factorisation of one domain, users at home.

Each device solves its own vector from its ratings and the item table it received, and answers with
the gradient of that table alone: no user vector ever leaves a device.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from metaem_core.federated.device import PrivateRatings
from metaem_core.federated.optimizers import LazyAdam


@dataclass(frozen=True)
class ItemDownload:
    """What every device receives: all items' vectors and offsets."""

    items: Tensor  # V (n, k)
    offsets: Tensor  # mean rating + item bias (n,)
    damping: float  # lambda of the devices' own ridge


@dataclass(frozen=True)
class ItemUpload:
    """What a cohort answers: the summed gradient of V, and nothing by user."""

    items: Tensor  # (n, k)
    squared_error: float
    n_ratings: int


def solve_users(download: ItemDownload, ratings: PrivateRatings, devices: int) -> Tensor:
    """``u_i = argmin sum (r - offset - u . v)^2 + lambda |u|^2`` on each device; (S, k)."""
    seen = download.items.index_select(0, ratings.rows)
    left = ratings.values - download.offsets.index_select(0, ratings.rows)
    k = seen.shape[1]
    squares = (seen.unsqueeze(2) * seen.unsqueeze(1)).flatten(1)
    gram = seen.new_zeros(devices, k * k).index_add_(0, ratings.owner, squares).view(-1, k, k)
    right = seen.new_zeros(devices, k).index_add_(0, ratings.owner, seen * left.unsqueeze(1))
    gram = gram + download.damping * torch.eye(k, dtype=seen.dtype)
    solved: Tensor = torch.linalg.solve(gram, right)
    return solved


def fcf_step(download: ItemDownload, ratings: PrivateRatings, devices: int) -> ItemUpload:
    """The device half: solve u, then ``dL/dv_j = -2 sum e u`` of the squared error."""
    users = solve_users(download, ratings, devices).index_select(0, ratings.owner)
    seen = download.items.index_select(0, ratings.rows)
    offsets = download.offsets.index_select(0, ratings.rows)
    error = ratings.values - offsets - (users * seen).sum(1)
    gradient = torch.zeros_like(download.items)
    gradient.index_add_(0, ratings.rows, -2 * error.unsqueeze(1) * users)
    return ItemUpload(gradient, float(torch.dot(error, error)), len(error))


class FcfServer:
    """The server half: it holds V alone."""

    def __init__(
        self, items: Tensor, offsets: Tensor, learning_rate: float, l2: float, damping: float
    ) -> None:
        self.offsets, self.damping = offsets, damping
        self.adam = LazyAdam(items, learning_rate, l2)

    def download(self) -> ItemDownload:
        """The same for every device."""
        return ItemDownload(self.adam.table.clone(), self.offsets, self.damping)

    def apply(self, upload: ItemUpload) -> None:
        """One step on the cohort's mean squared error."""
        rows = torch.arange(len(self.adam.table))
        self.adam.update(rows, upload.items / upload.n_ratings)
