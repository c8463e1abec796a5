"""The items of each user as tensors; draws of positive and negative items."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from metaem_core.data.ratings import Ratings, RatingScale


def liked(ratings: Ratings, scale: RatingScale) -> Ratings:
    """The ratings above the scale's middle: 4 and 5 of 1 to 5."""
    return ratings.where(ratings.values > (scale.low + scale.high) / 2)


def places(start: Tensor, count: Tensor) -> Tensor:
    """The positions ``start .. start + count - 1`` of each user (B,), one user after the other."""
    shift = (start - (count.cumsum(0) - count)).repeat_interleave(count)
    return torch.arange(len(shift)) + shift


@dataclass(frozen=True)
class ItemsByUser:
    """The items (R,) of each user (m,) are ``items[start : start + count]``, ascending."""

    items: Tensor
    start: Tensor
    count: Tensor
    n_items: int

    @classmethod
    def build(cls, ratings: Ratings) -> "ItemsByUser":
        """Of ratings sorted by (user, item)."""
        count = torch.from_numpy(np.bincount(ratings.users, minlength=ratings.n_users))
        return cls(torch.from_numpy(ratings.items), count.cumsum(0) - count, count, ratings.n_items)

    def last(self, users: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """The last ``n`` items (B, n) of users (B,), and which of these places are filled."""
        place = self.count[users].unsqueeze(1) - torch.arange(1, n + 1)
        filled = place >= 0
        items = self.items[(self.start[users].unsqueeze(1) + place)[filled]]
        return torch.zeros_like(place).masked_scatter_(filled, items), filled

    def rows(self, users: Tensor) -> Tensor:
        """The positions in ``items`` of the ratings of distinct users (B,)."""
        return places(self.start[users], self.count[users])

    def draw(self, users: Tensor, generator: torch.Generator) -> Tensor:
        """One item (B,) of each user, uniformly; all of them have at least one."""
        place = torch.rand(len(users), generator=generator, dtype=torch.float64)
        return self.items[self.start[users] + (place * self.count[users]).long()]

    def draw_other(self, users: Tensor, generator: torch.Generator) -> Tensor:
        """One item (B,) that is none of the user's, uniformly; there is at least one.

        The r-th such item is ``r + #{j : a_j - j <= r}``, where ``a`` are the user's items.
        """
        drawn = torch.rand(len(users), generator=generator, dtype=torch.float64)
        rank = (drawn * (self.n_items - self.count[users])).long()
        place = users * (self.n_items + 1) + rank
        return rank + torch.searchsorted(self._gaps, place, right=True) - self.start[users]

    @cached_property
    def _gaps(self) -> Tensor:
        """How many unrated items come before each rated one (R,), ascending over all users."""
        owner = torch.arange(len(self.count)).repeat_interleave(self.count)
        before = self.items - (torch.arange(len(self.items)) - self.start[owner])
        return owner * (self.n_items + 1) + before
