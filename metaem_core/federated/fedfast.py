"""FedFast (Muhammad et al. 2020): similar users are sampled together and learn from each other."""

import torch
from torch import Tensor

from metaem_core.federated.messages import Upload
from metaem_core.training.optimizers import TableOptimizer

ROUNDS = 10  # of Lloyd's algorithm


class Delegates:
    """ActvAGG: a user who is not in a round moves by ``discount`` times their cluster's mean step.

    Clusters are of the user table when an epoch's cohorts are drawn: no checkpoint needs them.
    """

    group: Tensor  # (m,) cluster of each user; -1: never trains

    def __init__(self, users: TableOptimizer, clusters: int, discount: float) -> None:
        self.users, self.clusters, self.discount = users, clusters, discount
        self.table, self.state = users.table, users.state

    def cohorts(self, users: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """ActvSAMP: the ``users`` once each, every cluster with its share of each cohort."""
        self.group = torch.full((len(self.table),), -1)
        self.group[users] = k_means(self.table.index_select(0, users), self.clusters)
        shuffled = users[torch.randperm(len(users), generator=generator)]
        by_cluster = shuffled[self.group.index_select(0, shuffled).argsort(stable=True)]
        step = -(-len(users) // size)
        return tuple(by_cluster[start::step].sort().values for start in range(step))

    def update(self, rows: Tensor, gradient: Tensor, upload: Upload) -> None:
        """One step of the delegates ``rows`` (B,), and of every other user of their clusters."""
        before = self.table.index_select(0, rows)
        self.users.update(rows, gradient, upload)
        step = self.table.index_select(0, rows) - before
        group = self.group.index_select(0, rows)
        total = step.new_zeros(self.clusters, step.shape[1]).index_add_(0, group, step)
        count = torch.bincount(group, minlength=self.clusters).clamp_min(1).unsqueeze(1)
        follower = self.group >= 0
        follower[rows] = False
        followed = (self.discount * total / count).index_select(0, self.group.clamp_min(0))
        self.table.add_(followed * follower.unsqueeze(1))


def k_means(vectors: Tensor, clusters: int) -> Tensor:
    """Cluster of each row (m,), by Lloyd's algorithm from rows spread over the longest axis."""
    order = vectors[:, vectors.var(0).argmax()].argsort()
    centres = vectors[order[torch.linspace(0, len(order) - 1, clusters).long()]]
    for _ in range(ROUNDS):
        nearest = torch.cdist(vectors, centres).argmin(1)  # (m,)
        count = torch.bincount(nearest, minlength=clusters).unsqueeze(1)
        total = torch.zeros_like(centres).index_add_(0, nearest, vectors)
        centres = torch.where(count > 0, total / count.clamp_min(1), centres)
    return torch.cdist(vectors, centres).argmin(1)
