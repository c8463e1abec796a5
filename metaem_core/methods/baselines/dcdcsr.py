"""DCDCSR (Zhu et al., IJCAI 2018), adapted to users without any target rating.

Published, the *target* factors are mapped to a benchmark, so a cold user has nothing to map. Here
the source factors are; target items are then trained anew against the mapped factors, as published.
A user of the target alone keeps their own factors: the benchmark of a user without source ratings.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from metaem_core.config.transfer import TransferConfig
from metaem_core.methods.transfer_problem import ColdModel, OnEpoch, Problem, Transfer, layer
from metaem_core.models.factors import FactorModel
from metaem_core.training.row_adam import RowAdam


def dcdcsr(problem: Problem, config: TransferConfig, on_epoch: OnEpoch) -> ColdModel:
    """``f(u^s) ~ b_u``, then ``min_V sum (r - f(u^s) . v)^2``; f: k -> 2k -> k, tanh."""
    source, target, k = problem.source, problem.target.flattened(), problem.size
    start = torch.Generator().manual_seed(config.seed)
    network = *layer(k, 2 * k, start), *layer(2 * k, k, start)
    (mine, theirs), goal = problem.overlap, benchmark(problem)
    low, high = torch.aminmax(source.user_vectors(mine), dim=0)

    def transfer(users: Tensor) -> Tensor:
        x = 2 * (source.user_vectors(users) - low) / (high - low).clamp_min(1e-6) - 1
        hidden = torch.nn.functional.linear(x, *network[:2]).tanh()
        return torch.nn.functional.linear(hidden, *network[2:])

    def loss(batch: Tensor) -> Tensor:
        return (transfer(mine[batch]) - goal[batch]).square().mean(1)

    every = replace(config, patience=0)  # the old items cannot tell which epoch is best
    ColdModel(problem, transfer, target).train(every, network, len(mine), loss, lambda _: None)
    fixed = replace(target, users=target.users.index_copy(0, theirs, transfer(mine)))
    return retrain_items(problem, config, fixed, transfer, on_epoch)


def benchmark(problem: Problem) -> Tensor:
    """``b_u = (n^s u^s + n^t u^t) / (n^s + n^t)``, n the user's ratings in a domain; (T, k)."""
    pair, (mine, theirs) = problem.pair, problem.overlap
    n_source, n_target = (
        torch.from_numpy(np.bincount(domain.users, minlength=domain.n_users)).unsqueeze(1)
        for domain in (pair.source, pair.target)
    )
    weighed = n_source[mine] * problem.source.user_vectors(mine)
    weighed += n_target[theirs] * problem.target.user_vectors(theirs)
    return weighed / (n_source[mine] + n_target[theirs])


def retrain_items(
    problem: Problem,
    config: TransferConfig,
    target: FactorModel,
    transfer: Transfer,
    on_epoch: OnEpoch,
) -> ColdModel:
    """Fit the items of a plain MF to all target ratings, its users as they are."""
    known = problem.pair.target
    factors = replace(problem.factors, scale=config.scale, seed=config.seed)
    users, items = torch.from_numpy(known.users), torch.from_numpy(known.items)
    values = target.residuals(known)
    start = torch.zeros_like(target.items) if target.centred else target.items
    adam = RowAdam(start, factors.learning_rate, factors.l2)

    def step(batch: Tensor) -> Tensor:
        mine, theirs = target.users[users[batch]], adam.read(items[batch])
        error = values[batch] - (mine * theirs).sum(1)
        adam.step(mine * (error * (-2 / len(batch))).unsqueeze(1))
        return torch.dot(error, error)

    cold = ColdModel(problem, transfer, replace(target, items=adam.table))
    cold.follow(step, len(values), factors, (adam.table,), adam.settle, on_epoch)
    return cold
