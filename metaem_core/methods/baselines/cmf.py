"""CMF (Singh and Gordon, KDD 2008): one user table for the ratings of both domains.

Published are alternating Newton steps with a weight a domain; as in PTUPCDR's comparison, every
rating weighs the same and Adam steps through both domains' ratings, shuffled together.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from metaem_core.config.transfer import TransferConfig
from metaem_core.data.pair import DomainPair
from metaem_core.data.ratings import Ints
from metaem_core.methods.factorisation.pretraining import steps_of
from metaem_core.methods.transfer_problem import ColdModel, OnEpoch, Problem
from metaem_core.models.factors import user_vectors


def cmf(problem: Problem, config: TransferConfig, on_epoch: OnEpoch) -> ColdModel:
    """``min sum (r^s - u . v^s)^2 + sum (r^t - u . v^t)^2``; a cold user's vector is their row.

    Where centred, ratings are relative to their own domain's biases.
    """
    factors = replace(problem.factors, scale=config.scale, seed=config.seed)
    pair, source, target = problem.pair, problem.pair.source, problem.pair.target
    owners = joint_users(pair)
    steps = steps_of(
        factors,
        source.n_users + target.n_users,
        source.n_items + target.n_items,
        torch.from_numpy(np.concatenate([source.users, owners[target.users]])),
        torch.from_numpy(np.concatenate([source.items, source.n_items + target.items])),
    )
    left = problem.source.residuals(source), problem.target.residuals(target)
    steps.values = torch.cat(left)

    def transfer(users: Tensor) -> Tensor:
        return user_vectors(steps.base, steps.head, steps.users[users])

    rows, items = torch.from_numpy(owners), steps.items[source.n_items :]
    joint = replace(problem.target, users=steps.users[rows], items=items, head=steps.head)
    cold = ColdModel(problem, transfer, joint)
    cold.follow(steps.step, steps.n, factors, steps.live, steps.settle, on_epoch)
    return cold


def joint_users(pair: DomainPair) -> Ints:
    """The joint table's row of each target user: the training overlap's are the source's."""
    rows = pair.source.n_users + np.arange(pair.target.n_users)
    rows[pair.train_target] = pair.train_source
    return rows
