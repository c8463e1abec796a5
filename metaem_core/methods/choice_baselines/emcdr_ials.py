"""EMCDR (Man et al. 2017) on iALS: vectors of choice in each domain, and a ridge between them."""

from collections.abc import Callable

import torch
from torch import Tensor

from metaem_core.config.choice import EmcdrIalsConfig, IalsConfig
from metaem_core.data.choices import ChoicePair, Scores
from metaem_core.methods.choice_baselines.factors import domain_factors

Features = Callable[[Tensor], Tensor]  # source users (B,) -> (B, 1 + k)


def emcdr_ials(pair: ChoicePair, config: EmcdrIalsConfig) -> Scores:
    """``f W . v_j`` of a user's source features f."""
    return mapped(pair, source_features(pair, config.factors), config)


def source_features(pair: ChoicePair, config: IalsConfig) -> Features:
    """``[1, u / sd]`` of the source vector u, sd over users who chose anything in the source."""
    source = domain_factors(pair.source, config)
    users = source.fold_in(pair.source)
    deviation = users[pair.source.counts > 0].std(0).clamp_min(1e-9)
    features = torch.cat([users.new_ones(len(users), 1), users / deviation], 1)
    return features.__getitem__


def mapped(pair: ChoicePair, features: Features, config: EmcdrIalsConfig) -> Scores:
    """``W = argmin |F W - U|^2 + ridge |W|^2`` over the training overlap, the constant undamped."""
    target = domain_factors(pair.target, config.factors)
    mine, theirs = pair.in_both()
    f = features(mine).double()
    vectors = target.fold_in(pair.target.of_users(theirs)).double()
    ridge = torch.full((f.shape[1],), config.damping / 100 * len(f), dtype=f.dtype)
    ridge[0] = 1e-9
    weights = torch.linalg.solve(f.T @ f + ridge.diag(), f.T @ vectors)
    table = weights.float() @ target.vectors.T  # (1 + k, n)
    return lambda users: features(users) @ table
