"""TMCDR (Zhu et al., SIGIR 2021): EMCDR's linear map, trained to do well after adapting.

The transfer stage is the independent pretraining. Meta stage: a batch of overlap users is split
into a support and a query group. The map takes one gradient step on the support group's ratings;
the query group's loss after it is differentiated through that step (MAML). As published, a cold
user gets the map without adaptation, since they have no ratings to adapt to.
"""

import torch
from torch import Tensor

from metaem_core.config.transfer import TransferConfig
from metaem_core.data.choices import Choices
from metaem_core.methods.transfer_problem import ColdModel, OnEpoch, Problem, last_layer

ADAPTATION = 0.01  # learning rate of the inner step: ten times more worsens the published start


def tmcdr(problem: Problem, config: TransferConfig, on_epoch: OnEpoch) -> ColdModel:
    """``min_W L_query(W - alpha dL_support/dW)``, L the mean squared error of ratings."""
    start = torch.Generator().manual_seed(config.seed)
    (weight,) = last_layer(problem, problem.size, problem.size, start, bias=False)
    source, target, (_, theirs) = problem.source, problem.target, problem.overlap
    users, rated, values = problem.overlap_ratings()
    known = Choices.of(problem.pair.overlap_ratings()[0])

    def transfer(users: Tensor) -> Tensor:
        return source.user_vectors(users) @ weight.T

    def group_loss(weight: Tensor, group: Tensor) -> Tensor:
        rows = known.rows(theirs[group])
        vectors = source.user_vectors(users[rows]) @ weight.T
        biased = torch.cat([vectors, cold.transfer_bias(users[rows])], 1)
        return (values[rows] - target.rate(biased, rated[rows])).square().mean()

    def loss(batch: Tensor) -> Tensor:
        support, query = batch[::2], batch[1::2] if len(batch) > 1 else batch
        return group_loss(adapted(weight, group_loss(weight, support)), query).expand(len(batch))

    cold = ColdModel(problem, transfer, target)
    return cold.train(config, (weight,), len(theirs), loss, on_epoch)


def adapted(weight: Tensor, support_loss: Tensor) -> Tensor:
    """One gradient step, itself differentiable by ``weight``."""
    (slope,) = torch.autograd.grad(support_loss, weight, create_graph=True)
    return weight - ADAPTATION * slope
