"""SSCDR (Kang et al., CIKM 2019) for ratings, in the form DiffCDR compares with.

The published method ranks by distance and predicts no ratings. This one keeps its semi-supervised
map: overlap users are the labels, their source items the unlabelled data. Unlike DiffCDR's,
each user counts once, and the negative item is drawn anew every epoch, never a rated one.
"""

import torch
from torch import Tensor

from metaem_core.config.transfer import TransferConfig
from metaem_core.data.choices import Choices
from metaem_core.data.ratings import liked
from metaem_core.methods.transfer_problem import ColdModel, OnEpoch, Problem, last_layer

MARGIN, UNSUPERVISED = 1.0, 1.0  # m and lambda


def sscdr(problem: Problem, config: TransferConfig, on_epoch: OnEpoch) -> ColdModel:
    """``|f(u^s) - u^t|^2 + lambda [m + |f(i+) - u^t|^2 - |f(i-) - u^t|^2]_+``, f linear."""
    start = torch.Generator().manual_seed(config.seed)
    weight, constant = last_layer(problem, problem.size, problem.size, start)
    source, target, ratings = problem.source, problem.target, problem.pair.source
    mine, theirs = problem.overlap
    sought, items = target.user_vectors(theirs), source.item_vectors()
    rated, positive = Choices.of(ratings), Choices.of(liked(ratings, config.scale))

    def transfer(users: Tensor) -> Tensor:
        return source.user_vectors(users) @ weight.T + constant

    def distance(vectors: Tensor, goal: Tensor) -> Tensor:
        return (vectors @ weight.T + constant - goal).square().sum(1)

    able = (positive.counts[mine] > 0) & (rated.counts[mine] < ratings.n_items)

    def loss(batch: Tensor) -> Tensor:
        users, goal, pulls = mine[batch], sought[batch], able[batch]
        near = items[positive.draw(users[pulls], start)]
        far = items[rated.draw_other(users[pulls], start)]
        pull = (MARGIN + distance(near, goal[pulls]) - distance(far, goal[pulls])).relu()
        labelled = distance(source.user_vectors(users), goal)
        return labelled.index_add(0, pulls.nonzero()[:, 0], pull, alpha=UNSUPERVISED)

    return ColdModel(problem, transfer, target).train(
        config, (weight, constant), len(mine), loss, on_epoch
    )
