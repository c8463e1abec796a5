"""A pair of domains to learn from, and held-out ratings to predict."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from metaem_core.data.ratings import Floats, Ints, Ratings

# source user indices (Q,), target item indices (Q,) -> ratings (Q,)
Predict = Callable[[Ints, Ints], Floats]


@dataclass(frozen=True)
class DomainPair:
    """A source and a target domain, and the training users known in both."""

    source: Ratings  # every user
    target: Ratings  # without any rating of a validation or cold-start user
    train_source: Ints  # (T,) source indices of the training overlap
    train_target: Ints  # (T,) the same users' target indices

    def __post_init__(self) -> None:
        if len(self.train_source) != len(self.train_target):
            raise ValueError(
                f"the training overlap has {len(self.train_source)} source indices but "
                f"{len(self.train_target)} target indices; give one of each per user"
            )

    def overlap_ratings(self) -> tuple[Ratings, Ints]:
        """The training overlap's target ratings and the source index (R,) of each one's user."""
        source_of = np.full(self.target.n_users, -1)
        source_of[self.train_target] = self.train_source
        overlap = self.target.of_users(source_of >= 0)
        return overlap, source_of[overlap.users]


@dataclass(frozen=True)
class Queries:
    """Held-out target ratings to predict."""

    users: Ints  # (Q,) source indices
    items: Ints  # (Q,) target indices
    values: Floats  # (Q,)

    def __post_init__(self) -> None:
        if not len(self.users) == len(self.items) == len(self.values):
            raise ValueError(
                f"users, items and values differ in length: "
                f"{len(self.users)}, {len(self.items)}, {len(self.values)}"
            )
