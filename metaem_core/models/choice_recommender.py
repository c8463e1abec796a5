"""Lists of a target's items by choice, and the user's own items that raise each one's score."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metaem_core.data.choices import Choices
from metaem_core.data.ratings import Floats, Ints
from metaem_core.models.choice_mapping import ChoiceModel

AT_ONCE = 1 << 24  # numbers in memory, of several users together


class Lists(NamedTuple):
    """A row a user, the best item first; a shorter list ends in items of -1."""

    items: Ints  # (B, T)
    scores: Floats  # (B, T)


@dataclass(frozen=True)
class ChoiceRecommender:
    """The model of choice, and lists by it."""

    model: ChoiceModel

    @torch.inference_mode()
    def top(self, histories: Choices, seen: Choices, count: int) -> Lists:
        """The ``count`` items of the highest scores of every user, without those ``seen``."""
        parts = [
            self._top(histories.of_users(users), seen.of_users(users), count)
            for users in _blocks(histories.n_users, seen.n_items)
        ]
        return Lists(*(torch.cat(part).numpy() for part in zip(*parts, strict=True)))

    def _top(self, histories: Choices, seen: Choices, count: int) -> tuple[Tensor, Tensor]:
        scores = self.model.scores(histories)
        scores[seen.owner, seen.items] = -torch.inf
        best, items = scores.topk(min(count, seen.n_items))
        items, place = items.sort(1)  # of equal scores the first item comes first
        best, order = best.gather(1, place).sort(dim=1, descending=True, stable=True)
        return items.gather(1, order).where(best > -torch.inf, -1), best

    @torch.inference_mode()
    def reasons(self, histories: Choices, items: Ints, count: int) -> Ints:
        """Of each list's items (B, T) those of the history that raise the score most (B, T, count).

        Fewer than ``count`` are followed by -1.
        """
        reasons = np.full((*items.shape, count), -1)
        for users, chosen, parts in self.parts(histories, torch.from_numpy(items).clamp_min(0)):
            highest, place = parts.topk(min(count, parts.shape[1]), 1)  # (b, count, T)
            named = chosen.unsqueeze(2).expand_as(parts).gather(1, place).where(highest > 0, -1)
            reasons[users.numpy(), :, : named.shape[1]] = named.transpose(1, 2).numpy()
        return reasons

    def parts(self, histories: Choices, items: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """What each choice adds to its user's scores of ``items`` (B, T), in closed form.

        Under the user's own standardisation, all of their parts and the score of who has features
        of 0 but the ones add up to the score.

        Yields:
            Users (b,) with as many choices, what they chose (b, n), and the parts (b, n, T).
        """
        features, scorer = self.model.features, self.model.scorer
        (k, d), longest = features.turn.shape, int(histories.counts.max()) if len(histories) else 0
        for users in _blocks(len(items), items.shape[1] * (longest + k + features.width)):
            own = histories.of_users(users)
            slopes = scorer.slopes(self.model.read(own), items[users]).transpose(1, 2)
            directions = features.turn @ slopes[:, 1 : 1 + d]  # (b, k, T)
            for place, chosen, parts in features.items.parts(own, directions):
                along = features.leading[chosen] @ slopes[place, 2 + d :]
                yield users[place], chosen, parts + along / chosen.shape[1] ** 0.5


def _blocks(users: int, numbers: int) -> tuple[Tensor, ...]:
    """All users in order, so many together that AT_ONCE holds the ``numbers`` of each."""
    return torch.split(torch.arange(users), max(1, AT_ONCE // max(1, numbers)))
