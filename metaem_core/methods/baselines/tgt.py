"""TGT: the target domain alone; a cold user's row is untrained."""

import torch
from torch import Tensor

from metaem_core.config.transfer import TransferConfig
from metaem_core.methods.transfer_problem import ColdModel, OnEpoch, Problem
from metaem_core.models.factors import user_vectors


def tgt(problem: Problem, config: TransferConfig, on_epoch: OnEpoch) -> ColdModel:
    """Ratings by an untrained user vector: N(0, 1) as published, zero where centred."""
    target = problem.target
    start = torch.Generator().manual_seed(config.seed)
    rows = torch.randn(problem.pair.source.n_users, target.users.shape[1], generator=start)
    if target.centred:
        rows.zero_()

    def transfer(users: Tensor) -> Tensor:
        return user_vectors(target.base, target.head, rows[users])

    return ColdModel(problem, transfer, target, transfers_bias=False)
