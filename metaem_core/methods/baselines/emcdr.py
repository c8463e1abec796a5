"""EMCDR (Man et al., IJCAI 2017): one linear map from source to target embeddings."""

import torch
from torch import Tensor

from metaem_core.config.transfer import TransferConfig
from metaem_core.methods.transfer_problem import ColdModel, OnEpoch, Problem, last_layer


def emcdr(problem: Problem, config: TransferConfig, on_epoch: OnEpoch) -> ColdModel:
    """``min_W |W u^s - u^t|^2`` over the training overlap (Eq. 12 as meant)."""
    start = torch.Generator().manual_seed(config.seed)
    (weight,) = last_layer(problem, problem.size, problem.size, start, bias=False)
    source, target = problem.source, problem.target
    mine, theirs = problem.overlap
    sought = target.user_vectors(theirs)

    def transfer(users: Tensor) -> Tensor:
        return source.user_vectors(users) @ weight.T

    def loss(batch: Tensor) -> Tensor:
        return (transfer(mine[batch]) - sought[batch]).square().mean(1)

    return ColdModel(problem, transfer, target).train(config, (weight,), len(mine), loss, on_epoch)
