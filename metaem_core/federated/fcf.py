"""FCF (Ammad-ud-din et al. 2019): federated matrix factorisation of one domain, users at home.

Each device solves its own vector from its ratings and the item table it received, and answers with
the gradient of that table alone: no user vector ever leaves a device. Published for implicit
feedback; here the ratings are what mean and biases leave of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from metaem_core.federated.device import PrivateRatings
from metaem_core.models.fold_in import fold_in
from metaem_core.training.row_adam import RowAdam


@dataclass(frozen=True)
class ItemDownload:
    """What every device receives."""

    items: Tensor  # rows of V (n, k)
    damping: float  # lambda of the devices' own ridge


@dataclass(frozen=True)
class ItemUpload:
    """What a cohort answers: the summed gradient of V, and nothing by user."""

    items: Tensor  # (n, k)
    squared_error: float
    n_ratings: int


def solve_users(download: ItemDownload, ratings: PrivateRatings, devices: int) -> Tensor:
    """``u_i = argmin sum (r - u . v)^2 + lambda |u|^2`` on each device; (S, k)."""
    seen = download.items.index_select(0, ratings.rows)
    return fold_in(seen, ratings.values, ratings.owner, devices, download.damping)


def fcf_step(download: ItemDownload, ratings: PrivateRatings, devices: int) -> ItemUpload:
    """The device half: solve u, then ``dL/dv_j = -2 sum e u`` of the squared error."""
    users = solve_users(download, ratings, devices).index_select(0, ratings.owner)
    seen = download.items.index_select(0, ratings.rows)
    error = ratings.values - (users * seen).sum(1)
    gradient = torch.zeros_like(download.items)
    gradient.index_add_(0, ratings.rows, -2 * error.unsqueeze(1) * users)
    return ItemUpload(gradient, float(torch.dot(error, error)), len(error))


class FcfServer:
    """The server half: it holds V alone, and steps it by Adam as published."""

    def __init__(self, items: Tensor, learning_rate: float, l2: float, damping: float) -> None:
        self.adam, self.damping = RowAdam(items, learning_rate, l2), damping

    def download(self, rows: Tensor) -> ItemDownload:
        """The same for every device: distinct ``rows`` (n,) of V."""
        return ItemDownload(self.adam.read(rows), self.damping)

    def apply(self, upload: ItemUpload) -> None:
        """One step of what was downloaded last on the cohort's mean squared error."""
        self.adam.step(upload.items / upload.n_ratings)
