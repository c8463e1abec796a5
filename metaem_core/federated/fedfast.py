"""FedFast (Muhammad et al. 2020): alike users are sampled together and learn from each other."""

import torch
from torch import Tensor

from metaem_core.federated.protocol import Upload
from metaem_core.training.optimizers import TableOptimizer

ROUNDS = 10  # of Lloyd's algorithm


class Delegates:
    """ActvAGG: users out of a round move as those of their cluster in it did, less each time.

    A user who took part keeps his own step. What is passed on is the mean step of a cluster's
    delegates, times ``discount``. Clusters are those of the table when an epoch's cohorts are
    drawn, so a checkpoint between epochs needs no others.
    """

    def __init__(self, users: TableOptimizer, clusters: int, discount: float) -> None:
        self.users, self.clusters, self.discount = users, clusters, discount
        self.table = users.table
        self._cluster(torch.arange(len(self.table)))

    def _cluster(self, users: Tensor) -> None:
        """The clusters of ``users``; others, who never train, are in none (-1)."""
        self.group = torch.full((len(self.table),), -1)
        self.group[users] = k_means(self.table.index_select(0, users), self.clusters)

    def cohorts(self, users: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """An epoch's :func:`stratified_cohorts` of the clusters as they are now."""
        self._cluster(users)
        return stratified_cohorts(self.group, users, size, generator)

    def update(self, rows: Tensor, gradient: Tensor, upload: Upload) -> None:
        """One step of the delegates ``rows`` (B,), and of everyone who is like them."""
        before = self.table.index_select(0, rows)
        self.users.update(rows, gradient, upload)
        step = self.table.index_select(0, rows) - before
        mine = self.group.index_select(0, rows)
        total = step.new_zeros(self.clusters, step.shape[1]).index_add_(0, mine, step)
        count = torch.bincount(mine, minlength=self.clusters).clamp_min(1).unsqueeze(1)
        follower = self.group >= 0
        follower[rows] = False
        passed_on = (self.discount * total / count).index_select(0, self.group.clamp_min(0))
        self.table.add_(passed_on * follower.unsqueeze(1))

    def state(self) -> dict[str, Tensor]:
        """The tensors a checkpoint must keep, the table included."""
        return self.users.state()


def stratified_cohorts(
    group: Tensor, users: Tensor, size: int, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """ActvSAMP: cohorts of ``size`` in which every cluster has its share; each user once.

    Args:
        group: cluster of every user (m,).
        users: who takes part (B,).
    """
    shuffled = users[torch.randperm(len(users), generator=generator)]
    dealt = shuffled[group.index_select(0, shuffled).argsort(stable=True)]
    cohorts = -(-len(users) // size)
    return tuple(dealt[start::cohorts].sort().values for start in range(cohorts))


def k_means(vectors: Tensor, clusters: int) -> Tensor:
    """Cluster of each row (m,), by Lloyd's algorithm from rows spread over the longest axis."""
    axis = vectors.var(0).argmax()
    order = vectors[:, axis].argsort()
    centres = vectors[order[torch.linspace(0, len(order) - 1, clusters).long()]]
    for _ in range(ROUNDS):
        nearest = torch.cdist(vectors, centres).argmin(1)
        count = torch.bincount(nearest, minlength=clusters).unsqueeze(1)
        total = torch.zeros_like(centres).index_add_(0, nearest, vectors)
        centres = torch.where(count > 0, total / count.clamp_min(1), centres)
    return torch.cdist(vectors, centres).argmin(1)
