"""Which items users chose: implicit feedback, made of ratings or as it was recorded."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from metaem_core.data.pair import DomainPair
from metaem_core.data.ratings import Ints, Ratings

# source user indices (B,) -> scores of all target items (B, n)
Scores = Callable[[Tensor], Tensor]
Thresholds = tuple[float | None, float | None]  # the fewest stars of a choice: source, target


@dataclass(frozen=True)
class Choices:
    """The items of each user: user i chose ``items[start[i] : start[i + 1]]``, ascending."""

    items: Tensor  # (R,)
    start: Tensor  # (n_users + 1,)
    n_items: int

    @classmethod
    def of(cls, ratings: Ratings, threshold: float | None = None) -> "Choices":
        """Every rating, or those of at least ``threshold``."""
        if threshold is not None:
            ratings = ratings.where(ratings.values >= threshold)
        return cls.of_pairs(ratings.users, ratings.items, ratings.n_users, ratings.n_items)

    @classmethod
    def of_pairs(cls, users: Ints, items: Ints, n_users: int, n_items: int) -> "Choices":
        """Of pairs (R,) sorted by (user, item)."""
        counts = np.bincount(users, minlength=n_users)
        start = np.concatenate([[0], np.cumsum(counts)])
        return cls(torch.from_numpy(items), torch.from_numpy(start), n_items)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def n_users(self) -> int:
        return len(self.start) - 1

    @cached_property
    def counts(self) -> Tensor:
        """How many items each user chose (n_users,)."""
        return self.start.diff()

    @property
    def owner(self) -> Tensor:
        """The user of each choice (R,), ascending."""
        return torch.arange(self.n_users).repeat_interleave(self.counts)

    def popularity(self) -> Tensor:
        """How many users chose each item (n_items,)."""
        return torch.bincount(self.items, minlength=self.n_items)

    def of_users(self, users: Tensor) -> "Choices":
        """The choices of ``users`` (B,), who become users 0 to B - 1."""
        counts = self.counts[users]
        start = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return Choices(self.items[self.rows(users)], start, self.n_items)

    def rows(self, users: Tensor) -> Tensor:
        """The positions in ``items`` of the choices of users (B,), one user after the other."""
        counts = self.counts[users]
        shift = (self.start[users] - (counts.cumsum(0) - counts)).repeat_interleave(counts)
        return torch.arange(len(shift)) + shift

    def last(self, users: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """The last ``n`` items (B, n) of users (B,), and which of these places are filled."""
        place = self.counts[users].unsqueeze(1) - torch.arange(1, n + 1)
        filled = place >= 0
        items = self.items[(self.start[users].unsqueeze(1) + place)[filled]]
        return torch.zeros_like(place).masked_scatter_(filled, items), filled

    def draw(self, users: Tensor, generator: torch.Generator) -> Tensor:
        """One item (B,) of each user, uniformly; all of them have at least one."""
        place = torch.rand(len(users), generator=generator, dtype=torch.float64)
        return self.items[self.start[users] + (place * self.counts[users]).long()]

    def draw_other(self, users: Tensor, generator: torch.Generator) -> Tensor:
        """One item (B,) that is none of the user's, uniformly; there is at least one.

        The r-th such item is ``r + #{j : a_j - j <= r}``, where ``a`` are the user's items.
        """
        drawn = torch.rand(len(users), generator=generator, dtype=torch.float64)
        rank = (drawn * (self.n_items - self.counts[users])).long()
        place = users * (self.n_items + 1) + rank
        return rank + torch.searchsorted(self._gaps, place, right=True) - self.start[users]

    @cached_property
    def _gaps(self) -> Tensor:
        """How many other items come before each chosen one (R,), ascending over all users."""
        owner = self.owner
        before = self.items - (torch.arange(len(self.items)) - self.start[owner])
        return owner * (self.n_items + 1) + before

    def transposed(self) -> "Choices":
        """The users of each item, ascending, as if they were the items of a user."""
        order = self.items.argsort(stable=True)
        start = torch.cat([self.start.new_zeros(1), self.popularity().cumsum(0)])
        return Choices(self.owner[order], start, self.n_users)

    def by_count(self, at_once: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Users (B,) with the same number n > 0 of choices, and where these are (B, n).

        Args:
            at_once: choices in a block, at least one user's.
        """
        counts = self.counts
        order = counts.argsort(stable=True)
        sizes, users = torch.unique_consecutive(counts[order], return_counts=True)
        for n, group in zip(sizes.tolist(), torch.split(order, users.tolist()), strict=True):
            for block in torch.split(group, max(1, at_once // n)) if n else ():
                yield block, self.start[block].unsqueeze(1) + torch.arange(n)


@dataclass(frozen=True)
class ChoicePair:
    """A source and a target domain, and the training users known in both."""

    source: Choices  # every user
    target: Choices  # without any choice of a validation or cold-start user
    train_source: Tensor  # (T,) source indices of the training overlap
    train_target: Tensor  # (T,) the same users' target indices

    def in_both(self) -> tuple[Tensor, Tensor]:
        """Source and target indices of the training users who chose in both domains.

        Raises:
            ValueError: nobody did.
        """
        both = self.source.counts[self.train_source] > 0
        both &= self.target.counts[self.train_target] > 0
        if not bool(both.any()):
            raise ValueError("no training user chose in both domains; check choice.threshold")
        return self.train_source[both], self.train_target[both]

    def known(self, users: Tensor, chosen: Choices) -> Tensor:
        """Positions (P,) of those who chose in both domains.

        Args:
            users: source indices (B,).
            chosen: what each of them chose in the target.
        """
        return ((self.source.counts[users] > 0) & (chosen.counts > 0)).nonzero().flatten()

    @classmethod
    def of(cls, pair: DomainPair, thresholds: Thresholds = (None, None)) -> "ChoicePair":
        """What the users of ``pair`` chose."""
        return cls(
            Choices.of(pair.source, thresholds[0]),
            Choices.of(pair.target, thresholds[1]),
            torch.from_numpy(pair.train_source),
            torch.from_numpy(pair.train_target),
        )
