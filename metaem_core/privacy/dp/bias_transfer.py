"""Bias transfer under DP: everything that is released carries noise.

A domain keeps its items' levels and each device its user's bias; the mapping is the line through
what the training overlap's ratings leave of these. Taste, profiles and networks are not trained:
without any noise they are worth less than what noise on the items' biases costs (docs/privacy.md).
"""

import hashlib
import math
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metaem_core.config.dp import PrivateConfig
from metaem_core.data.pair import DomainPair
from metaem_core.data.ratings import Ratings, RatingScale
from metaem_core.evaluation.metrics import Doubles
from metaem_core.models.metaem import DomainModel
from metaem_core.models.mlp import Parameters
from metaem_core.privacy.dp.biases import (
    LARGEST,
    SUMS,
    NoisySum,
    centred,
    domain_sum,
    dp_item_levels,
    middle,
    noisy_sums,
    unit,
    user_biases,
)
from metaem_core.privacy.dp.gaussian import Releases, mu_of

SHARES = {"source": 0.05, "target": 0.8, "mapping": 0.15}  # of a run's budget
WIDTH = 0.5  # a usual user bias
SLOPE = 0.6  # the mapping's before any ratings are seen
PULL = 6.0  # towards it, in deviations of the noise


class Line(NamedTuple):
    """A target rating over its item's level, by the user's source bias."""

    constant: float
    slope: float


def releases(config: PrivateConfig, part: str, *domains: Ratings) -> Releases:
    """What one of the ``SHARES`` may release of these ratings.

    The noise follows from the settings and the ratings: a run can be repeated, and no two differing
    releases share noise. Whoever knows both can remove it, so a release to anybody else needs noise
    from a secret source.
    """
    whole = math.inf if math.isinf(config.epsilon) else mu_of(config.epsilon, config.delta)
    # of the text of the settings: another name of the class or a field is other noise
    seed = hashlib.sha256(f"{part} {config!r}".encode())
    for ratings in domains:
        for array in (ratings.users, ratings.items, ratings.values):
            seed.update(array.tobytes())
    draw = np.random.default_rng(np.frombuffer(seed.digest(), np.uint32))
    return Releases(whole * math.sqrt(SHARES[part]), draw)


def dp_bias_domain(ratings: Ratings, config: PrivateConfig, released: Releases) -> DomainModel:
    """A domain of levels and biases alone.

    Raises:
        ValueError: delta allows that one user's ratings leak in full.
    """
    if config.delta * ratings.n_users >= 1:
        raise ValueError(
            f"delta {config.delta:g} must be below one over the users, here "
            f"{1 / ratings.n_users:.1g}: it is the share of them whose ratings may leak in full"
        )
    noisy = noisy_sums(partial(domain_sum, ratings, config.scale), released)
    levels = dp_item_levels(noisy, ratings.n_items)
    users = user_biases(ratings, config.scale, levels)
    one = unit(config.scale)
    meta, user, item = ((torch.zeros(1, 1), torch.zeros(1)) for _ in range(3))
    return DomainModel(
        user_embeddings=torch.zeros(ratings.n_users, 1),
        common_items=torch.zeros(ratings.n_items, 1),
        item_offsets=_single(middle(config.scale) + one * levels),
        item_features=torch.ones(ratings.n_items, 1),
        user_profiles=_single(one * users)[:, None],
        meta_network=meta,
        user_tower=user,
        item_tower=item,
        relu_last=False,
        meta_reads_raw=False,
    )


def dp_bias_mapping(
    profiles: Tensor,
    target: DomainModel,
    pair: DomainPair,
    config: PrivateConfig,
    released: Releases,
) -> Parameters:
    """f_theta: the line of a domain's biases, as :func:`map_users` takes it.

    Args:
        profiles: of every source user, :meth:`DomainModel.source_vectors` (m_s, 2).
    """
    one = unit(config.scale)
    source = profiles[:, 1].double().numpy() / one
    levels = (target.item_offsets.double().numpy() - middle(config.scale)) / one
    add = partial(line_sum, pair, source, config.scale)
    line = dp_bias_line(noisy_sums(add, released), levels)
    weight = torch.tensor([[0.0, 0.0], [0.0, line.slope]])
    constant = torch.tensor([0.0, one * line.constant])
    nothing = torch.zeros(2, 2), torch.zeros(2)
    return torch.zeros(2), torch.ones(2), weight, constant, torch.zeros(2), *nothing


def dp_bias_line(noisy: NoisySum, levels: Doubles) -> Line:
    """A ridge through one noisy sum of products over the training overlap's devices."""
    (n, x, xx, *cross), deviation = noisy("line", levels)
    square = np.array([[n, x], [x, xx]])
    values, directions = np.linalg.eigh(square)
    square = directions * np.maximum(values, 0) @ directions.T  # as sums of squares are
    pull = PULL * deviation + 0.01
    before = np.array([0.0, SLOPE * WIDTH])
    line = np.linalg.solve(square + pull * np.eye(2), np.array(cross) + pull * before)
    return Line(float(line[0]), float(line[1]) / WIDTH)


def line_sum(
    pair: DomainPair, source: Doubles, scale: RatingScale, name: str, levels: Doubles
) -> Doubles:
    """Sums over the overlap's devices of 1, x, x^2, y and x y, each device's part cut in length.

    ``x`` is a user's bias in the ``source`` (m_s,), ``y`` what its item's level leaves of a target
    rating; a device adds up its ratings and divides by the root of their number.
    """
    overlap, source_users = pair.overlap_ratings()
    left = centred(overlap, scale) - levels[overlap.items]
    y, x = np.clip(left, -LARGEST, LARGEST), source[source_users] / WIDTH
    count = np.bincount(overlap.users, minlength=overlap.n_users)
    products = np.stack([np.ones_like(y), x, x * x, y, x * y])
    sums = np.stack([np.bincount(overlap.users, each, len(count)) for each in products])
    added = sums / np.sqrt(np.maximum(count, 1))
    lengths, longest = np.sqrt((added**2).sum(0)), SUMS[name].clip
    return np.asarray((added * (longest / np.maximum(lengths, longest))).sum(1))


def _single(values: Doubles) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
