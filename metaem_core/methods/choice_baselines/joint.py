"""Two domains as one matrix: a row is a user, a column an item of the source or the target."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from metaem_core.data.choices import ChoicePair, Choices

BLOCK = 1024  # rows of a Gram matrix that are computed at once


class TooLarge(ValueError):
    """A method's matrix would not fit in memory on these domains: it is left out of the tables."""


def ones(choices: Choices) -> csr_matrix:
    """A one for each choice (n_users, n_items)."""
    values = np.ones(len(choices), dtype=np.float32)
    shape = choices.n_users, choices.n_items
    return csr_matrix((values, choices.items.numpy(), choices.start.numpy()), shape=shape)


def shares(choices: Choices) -> NDArray[np.float32]:
    """The share of users that chose each item (n_items,)."""
    users = max(1, int((choices.counts > 0).sum()))
    shared: NDArray[np.float32] = (choices.popularity() / users).float().numpy()
    return shared


def gram(rows: csr_matrix) -> NDArray[np.float32]:
    """``X X'`` of sparse rows X (m, n), dense (m, m)."""
    products = np.empty((rows.shape[0],) * 2, dtype=np.float32)
    for low in range(0, len(products), BLOCK):
        products[low : low + BLOCK] = (rows[low : low + BLOCK] @ rows.T).toarray()
    return products


@dataclass(frozen=True)
class Joint:
    """Users of the source alone, then of both domains, then of the target; source items first."""

    choices: Choices
    n_source_only: int
    n_source_users: int  # with those of both
    n_source_items: int

    @classmethod
    def of(cls, pair: ChoicePair) -> "Joint":
        """The training overlap counts as users of both; held-out users are the source's alone."""
        source_only = _others(pair.source, pair.train_source)
        target_only = _others(pair.target, pair.train_target)
        shift, n_rows = pair.source.n_items, len(source_only) + len(pair.train_source)
        source = pair.source.of_users(torch.cat([source_only, pair.train_source]))
        target = pair.target.of_users(torch.cat([pair.train_target, target_only]))
        rows = torch.cat([source.owner, target.owner + len(source_only)])
        items = torch.cat([source.items, target.items + shift])
        order = rows.argsort(stable=True)
        shape = n_rows + len(target_only), shift + pair.target.n_items
        joint = Choices.of_pairs(rows[order].numpy(), items[order].numpy(), *shape)
        return cls(joint, len(source_only), n_rows, shift)


def _others(choices: Choices, users: torch.Tensor) -> torch.Tensor:
    """All users with a choice but these."""
    other = choices.counts > 0
    other[users] = False
    return other.nonzero().flatten()
