"""The strongest central rival: a mean of z-scores of three ways from the source to the target."""

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import diags_array
from torch import Tensor

from metaem_core.config.choice import ChoiceBlendConfig, EmcdrIalsConfig
from metaem_core.data.choices import ChoicePair, Choices, Scores
from metaem_core.methods.choice_baselines.emcdr_ials import (
    Features,
    mapped,
    source_features,
)
from metaem_core.methods.choice_baselines.joint import TooLarge, gram, ones, shares

PRIOR_USERS = 20.0  # popularity among all users counts as so many users of the overlap


def blend(pair: ChoicePair, emcdr: EmcdrIalsConfig, config: ChoiceBlendConfig) -> Scores:
    """EMCDR on iALS, a low-rank ridge from its source features, and a kernel ridge."""
    features = source_features(pair, emcdr.factors)
    parts = [
        mapped(pair, features, emcdr),
        low_rank_ridge(pair, features, config.low_rank_damping),
        kernel_ridge(pair, config.kernel_damping, config.most_users),
    ]
    return lambda users: torch.stack([standardised(part(users)) for part in parts]).mean(0)


def standardised(scores: Tensor) -> Tensor:
    """Of mean 0 and deviation 1 in each row; a constant row stays 0."""
    centred = scores - scores.mean(1, keepdim=True)
    return centred / centred.std(1, keepdim=True).clamp_min(1e-12)


def low_rank_ridge(pair: ChoicePair, features: Features, damping: float) -> Scores:
    """``p + f B``, ``B = argmin |Y - 1 p' - F B|^2 + damping |B|^2`` for the choices Y."""
    mine, theirs = pair.in_both()
    f, chosen = features(mine), pair.target.of_users(theirs)
    prior = _prior(pair.target, chosen)
    cross = torch.from_numpy(ones(chosen).T @ f.numpy()).T - torch.outer(f.sum(0), prior)
    square = f.T @ f + damping * torch.eye(f.shape[1])
    table = torch.linalg.solve(square.double(), cross.double()).float()
    return lambda users: prior + features(users) @ table


def kernel_ridge(pair: ChoicePair, damping: float, most_users: int) -> Scores:
    """``p + k (K + damping)^-1 (Y - 1 p')``, K the cosines of source choices in the overlap.

    Raises:
        TooLarge: an overlap of more than ``most_users``, whose kernel would not fit in memory.
    """
    mine, theirs = pair.in_both()
    if (n := len(mine)) > most_users:
        raise TooLarge(
            f"kernel ridge inverts a matrix of {n} x {n} users, more than most_users = {most_users}"
        )
    lengths = np.sqrt(pair.source.counts.numpy().clip(1))
    units = diags_array(1 / lengths, dtype=np.float32) @ ones(pair.source)
    mates = units[mine.numpy()]
    chosen = pair.target.of_users(theirs)
    rows, prior = ones(chosen).T.tocsr(), _prior(pair.target, chosen)
    kernel = gram(mates)
    kernel[np.diag_indices_from(kernel)] += damping
    root = cho_factor(kernel.T, overwrite_a=True, check_finite=False)

    def scores(users: Tensor) -> Tensor:
        near = (mates @ units[users.numpy()].T).toarray()
        weights = cho_solve(root, near, overwrite_b=True, check_finite=False)  # (T, B)
        fitted = torch.from_numpy(rows @ weights).T
        return fitted + torch.outer(1 - torch.from_numpy(weights.sum(0)), prior)

    return scores


def _prior(target: Choices, overlap: Choices) -> Tensor:
    """An item's share in the overlap, shrunk to its share among all users (n,)."""
    shrunk = PRIOR_USERS * torch.from_numpy(shares(target))
    return (overlap.popularity() + shrunk) / (overlap.n_users + PRIOR_USERS)
