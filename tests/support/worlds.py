"""Small rating matrices for the core's tests."""

import numpy as np
from numpy.typing import NDArray

from metaem_core.data.ratings import Ratings
from metaem_core.synthetic.world import SyntheticConfig, SyntheticDomain, generate


def random_ratings(n_users: int, n_items: int, mean_count: float, seed: int) -> Ratings:
    """Whole stars; user activity is skewed, every third user rates a single item, user 0 none."""
    draw = np.random.default_rng(seed)
    counts = np.minimum(1 + draw.geometric(1 / mean_count, n_users), n_items)
    counts[::3] = 1
    counts[0] = 0
    users = np.repeat(np.arange(n_users), counts)
    items = np.concatenate([np.sort(draw.permutation(n_items)[:c]) for c in counts])
    values = draw.integers(1, 6, len(users)).astype(np.float32)
    return Ratings(users, items.astype(np.int64), values, n_users, n_items)


def tasteful_ratings(n_users: int, n_items: int, each: int, seed: int) -> Ratings:
    """Whole stars from two tastes, with small biases and noise; every user rates ``each`` items."""
    draw = np.random.default_rng(seed)
    users = np.repeat(np.arange(n_users), each)
    items = np.concatenate([np.sort(draw.permutation(n_items)[:each]) for _ in range(n_users)])
    taste = draw.normal(0, 0.8, (n_users, 2))[users] * draw.normal(0, 0.7, (n_items, 2))[items]
    biases = draw.normal(0, 0.3, n_users)[users] + draw.normal(0, 0.3, n_items)[items]
    opinion = 3.5 + biases + taste.sum(1) + draw.normal(0, 0.5, len(users))
    return Ratings(users, items, opinion.round().clip(1, 5).astype(np.float32), n_users, n_items)


def from_table(values: NDArray[np.integer] | NDArray[np.floating]) -> Ratings:
    """Of a table (users, items) in which zero means no rating."""
    users, items = np.nonzero(values)
    return Ratings(users, items, values[users, items].astype(np.float32), *values.shape)


def renumbered(domain: SyntheticDomain) -> Ratings:
    """Of users and items from 0 on, in the order of their ids."""
    (ids, users), (items_known, items) = (
        np.unique(side, return_inverse=True) for side in (domain.users, domain.items)
    )
    return Ratings(users, items, domain.values, len(ids), len(items_known))


def planted_ratings(growth: float) -> Ratings:
    """The embedded world's music: quality, bias and two tastes behind whole stars."""
    return renumbered(generate(SyntheticConfig(growth=growth), "music"))
