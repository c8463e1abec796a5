"""The device half of a round of choices: solve the own vector, answer with sums.

This is FCF's exchange (Ammad-ud-din et al. 2019): no user vector leaves a device. What leaves it
adds up over devices, so the server may read the sums alone.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from metaem_core.data.choices import Choices
from metaem_core.federated.encoding import Message, encode
from metaem_core.federated.private import Private
from metaem_core.federated.secure.coding import Closing, Totals, bounded
from metaem_core.models.choice import ItemFactors, mean_rows, summed_rows
from metaem_core.models.choice_mapping import SourceFeatures, overlap_sums

# of n_i u u' under masks: whole, it would exceed the largest number of a device after some hundred
# choices, and shrink all that the device adds
CURVATURE_UNIT = 64.0
COUNTS = 1  # the masked sum of how many users chose each item; what follows it is sum 0
NOTHING = Totals(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class ChoiceUpload:
    """What a cohort answers, summed over its devices."""

    items: Tensor  # (1 - u.v_j) u, on the rows that were chosen and are summed (n, k)
    moments: Tensor  # [1, u] [1, u]' (k + 1, k + 1)
    curvature: Tensor  # n_i u u' (k, k)
    leading: Tensor  # x (x'Q), x the choices at length 1, on the same rows (n, p)
    loss: float  # what the users' part of the whole-data loss comes to
    n_choices: int

    @property
    def tensors(self) -> list[Tensor]:
        """All that is summed but the totals."""
        return [self.items, self.moments, self.curvature, self.leading]

    def encoded(self) -> bytes:
        """What a device of an open round answers."""
        answer = {str(place): part for place, part in enumerate(self.tensors)}
        answer["totals"] = torch.tensor([self.loss, self.n_choices], dtype=torch.float64)
        return encode(answer)


def choice_step(
    download: ItemFactors, leading: Tensor, summed: Tensor, chosen: Choices
) -> ChoiceUpload:
    """One round of devices that each have a choice; ``chosen`` names rows of V and of Q.

    Args:
        leading: Q (n, p).
        summed: whether anything is added to an item's row (n,).
    """
    users, errors = download.fitted(chosen)
    counts, added = chosen.counts, chosen.popularity() * summed
    extended = torch.cat([users.new_ones(len(users), 1), users], 1)
    order = chosen.items.argsort(stable=True)
    order = order[summed[chosen.items[order]]]
    on_rows = partial(summed_rows, places=chosen.owner[order], start=added.cumsum(0) - added)
    return ChoiceUpload(
        on_rows(users, weights=errors[order]),
        extended.T @ extended,
        (users * counts.unsqueeze(1)).T @ users,
        on_rows(mean_rows(leading, chosen)),  # both x have 1 / sqrt(n_i) on these rows
        _loss(download, users, counts, errors),
        len(chosen),
    )


def _loss(download: ItemFactors, users: Tensor, counts: Tensor, error: Tensor) -> float:
    unchosen = ((users @ download.gram) * users).sum()
    ridge = (users.square().sum(1) * (counts + download.unobserved * download.n_items)).sum()
    whole = error.square().sum() + download.unobserved * unchosen + download.l2 * ridge
    return float(whole)


@dataclass(frozen=True, repr=False)
class OwnChoices(Private):
    """What a device's user chose in one domain, and how their vector follows from it."""

    items: Tensor  # (R,) ascending, at least one
    unobserved: float
    l2: float

    def received(self, message: Message) -> tuple[ItemFactors, Choices]:
        """The item vectors of a message, and the choices as those of one user."""
        vectors, start = message["vectors"], torch.tensor([0, len(self.items)])
        n = len(vectors)
        factors = ItemFactors(vectors, message["gram"], self.unobserved, self.l2, n)
        return factors, Choices(self.items, start, n)

    def features(self, message: Message) -> Tensor:
        """What a mapping from this domain reads of the user (1, 2 + d + p)."""
        factors, chosen = self.received(message)
        return SourceFeatures(factors, message["turn"], message["leading"])(chosen)


@dataclass(frozen=True, repr=False)
class ChoiceDevice(Private):
    """A device in masked rounds, whose sums alone the server reads."""

    own: OwnChoices

    def contribution(self, message: Message) -> tuple[list[Tensor], Totals]:
        """Its part of the sums over all items, and of the totals."""
        factors, chosen = self.own.received(message)
        upload = choice_step(factors, message["leading"], message["summed"], chosen)
        curvature = upload.curvature / CURVATURE_UNIT
        shared, _ = bounded([upload.items, upload.moments, curvature, upload.leading])
        return shared, Totals(upload.loss, upload.n_choices, 0.0)

    def close(self, closing: Closing) -> None:
        """Nothing on the device is kept: its vector follows from the next download."""


@dataclass(frozen=True, repr=False)
class CountDevice(Private):
    """A device in the first sum of a pretraining or of a mapping."""

    own: OwnChoices

    def contribution(self, message: Message) -> tuple[list[Tensor], Totals]:
        """A one for each of its items."""
        return [torch.bincount(self.own.items, minlength=int(message["items"])).float()], NOTHING

    def close(self, closing: Closing) -> None:
        """Nothing on the device is trained."""


@dataclass(frozen=True, repr=False)
class OverlapDevice(Private):
    """A device of a user of both domains, which adds its part to the mapping's second sum.

    Its features come from the source's app on the same device, its choices are the target's.
    """

    features: Tensor  # (1, 2 + d + p)
    p: int  # leading directions among the features
    own: OwnChoices

    def contribution(self, message: Message) -> tuple[list[Tensor], Totals]:
        """``f f'``, ``f u'``, ``g g'``, and g on the rows of its choices that are added up."""
        factors, chosen = self.own.received(message)
        turned = factors.fold_in(chosen) @ message["turn"]
        sums = overlap_sums(self.features, self.p, turned, chosen, message["summed"])
        shared, _ = bounded([*sums])
        return shared, NOTHING

    def close(self, closing: Closing) -> None:
        """Nothing on the device is trained."""


def count_message(n_items: int) -> dict[str, Tensor]:
    """What the devices of a first sum are sent."""
    return {"items": torch.tensor(n_items)}


def turned_message(items: ItemFactors, turn: Tensor) -> dict[str, Tensor]:
    """Item vectors, and the directions (k, d) that a device turns its user's vector into."""
    turn = turn.to(items.vectors.dtype)
    return {"vectors": items.vectors, "gram": items.gram, "turn": turn}


def features_message(features: SourceFeatures) -> dict[str, Tensor]:
    """What a source device computes its user's features from."""
    return {**turned_message(features.items, features.turn), "leading": features.leading}


def overlap_shapes(n_items: int, size: int, width: int, p: int) -> tuple[torch.Size, ...]:
    """Of the mapping's sums; ``width`` is that of the features, 2 + d + p."""
    f, g = width - 1 - p, 1 + p
    return tuple(map(torch.Size, ((f, f), (f, size), (g, g), (n_items, g))))
