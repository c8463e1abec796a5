"""User kNN: what the users of the overlap who are most alike in the source chose in the target."""

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from metaem_core.config.choice import UserKnnConfig
from metaem_core.data.choices import ChoicePair, Scores
from metaem_core.methods.choice_baselines.joint import ones, shares


def user_knn(pair: ChoicePair, config: UserKnnConfig) -> Scores:
    """``sum_v s_uv y_v + prior p``; ``s_uv = |I_u n I_v| / (sqrt(|I_u| |I_v|) + damping)``.

    The sum is over the nearest users v of the training overlap, y_v their target choices, p the
    items' popularity.
    """
    source, counts = ones(pair.source), pair.source.counts.float()
    mates = source[pair.train_source.numpy()]
    lent = ones(pair.target)[pair.train_target.numpy()]  # (T, n)
    size = counts[pair.train_source]
    prior = config.prior * torch.from_numpy(shares(pair.target))
    n_neighbours = min(config.neighbours, len(size))

    def scores(users: Tensor) -> Tensor:
        common = torch.from_numpy((source[users.numpy()] @ mates.T).toarray())
        similarity = common / (torch.outer(counts[users], size).sqrt() + config.damping + 1e-9)
        values, mate = (each.flatten().numpy() for each in similarity.topk(n_neighbours, dim=1))
        start = np.arange(len(users) + 1) * n_neighbours
        nearest = csr_matrix((values, mate, start), shape=similarity.shape)
        return torch.from_numpy((nearest @ lent).toarray()) + prior

    return scores
