"""What a server learns of who chose which items: from requests, and from sums over cohorts."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from metaem_core.config.choice import ChoiceConfig
from metaem_core.data.choices import Choices
from metaem_core.data.ratings import Ints, RatingScale
from metaem_core.federated.choice.device import ChoiceDevice, OwnChoices
from metaem_core.federated.choice.server import ChoiceServer
from metaem_core.federated.secure.coding import from_words
from metaem_core.federated.secure.server import secure_round
from metaem_core.federated.secure.simulation import in_process
from metaem_core.models.choice import ChoiceDomain, mean_rows, places_along
from metaem_core.models.choice_mapping import LEAST
from metaem_core.privacy.attacks.audit import PRIOR, Audit
from metaem_core.privacy.attacks.reconstruction import Leak, Reading

ANY = RatingScale()  # every choice is taken for one of the most stars
NONE = 1e-9  # in place of a count of 0, whose logarithm is not finite


class ChoiceAttacks:
    """Evidence about some users, and their server's look at it.

    The server knows the popularity of items and how many each user chose.
    """

    def __init__(self, choices: Choices, members: Tensor, devices: int, seed: int) -> None:
        """``devices`` of the ``members``, who each have a choice, are drawn; or all of them."""
        self._choices, self._members = choices, members.numpy()
        self._draw = np.random.default_rng(seed)
        self._popularity = choices.popularity() / int(choices.counts.count_nonzero())
        size = min(devices, len(members))
        self.devices = np.sort(self._draw.choice(self._members, size, replace=False))
        own = (choices.of_users(torch.tensor([int(device)])).items for device in self.devices)
        self._truths = [(items, torch.full((len(items),), ANY.high)) for items in own]

    def pretraining(self, config: ChoiceConfig, domain: ChoiceDomain) -> Iterator[Audit]:
        """Of a pretrained domain: both layouts, then popularity alone."""
        size, sums = min(config.cohort_size, len(self._members)), config.epochs + 1
        yield self._judged("rows", self.requested())
        yield self._judged("secure", self.masked(config, domain))
        yield self._judged(f"secure, one sum of {size:,}", self.summed(size, 1))
        yield self._judged(f"secure, {sums} sums of {size:,}", self.summed(size, sums))
        rows = self.on_rows_of_cohorts(domain.leading, size)
        yield self._judged(f"secure, rows of one sum of {size:,}", rows)
        yield self._judged(PRIOR, self.summed(size, 0))

    def overlap(self) -> Iterator[Audit]:
        """Of the sum over all members from which a mapping follows, then popularity alone."""
        size = len(self._members)
        yield self._judged(f"mapping, one sum of {size:,}", self.summed(size, 1))
        yield self._judged(f"{PRIOR} in the target", self.summed(size, 0))

    def rare(self, leading: Tensor, target: Choices) -> Iterator[Audit]:
        """Of the mapping's sum: which source items its rows of few users tell.

        Args:
            leading: Q of the source (n, p).
            target: what the members chose there, in their order.
        """
        name = f"mapping, rows of {LEAST} users or more"
        yield self._judged(name, self.on_rows(leading, target, LEAST))
        yield self._judged(f"{PRIOR} in the source", self.summed(len(self._members), 0))

    def on_rows(self, leading: Tensor, target: Choices, least: int) -> Iterator[Tensor]:
        """A target item's row adds up ``x'Q`` of the members who chose it, if ``least`` did."""
        along = places_along(leading, self._choices.of_users(torch.from_numpy(self._members)))
        for device in self.devices:
            (place,) = np.flatnonzero(self._members == device)
            yield self._on_row(leading, along, target, int(place), least)

    def on_rows_of_cohorts(self, leading: Tensor, size: int) -> Iterator[Tensor]:
        """An item's row adds up ``x (x'Q)`` of the device and ``size - 1`` others who chose it."""
        for device in self.devices:
            chosen = self._choices.of_users(torch.from_numpy(self._cohort(int(device), size)))
            yield self._on_row(leading, mean_rows(leading, chosen), chosen, size - 1, 1)

    def _on_row(
        self, leading: Tensor, added: Tensor, target: Choices, place: int, least: int
    ) -> Tensor:
        """The server takes the row of the fewest users among those of the user at ``place``.

        It solves for the x of no negative number that fits best. Without a row that ``least`` users
        or more have, it knows the popularity alone.

        Args:
            added: what each user adds to the rows of their target items (B, p).
        """
        prior, counts = self._popularity * NONE, target.popularity()
        items = target.items[target.start[place] : target.start[place + 1]]
        items = items[counts[items] >= least]
        if len(items) == 0:
            return prior
        users = target.owner[target.items == items[counts[items].argmin()]]
        row = added[users].sum(0).double().numpy()
        return torch.from_numpy(nnls(leading.T.double().numpy(), row)[0]) + prior

    def requested(self) -> Iterator[Tensor]:
        """A device of an open round names its items."""
        for items, _ in self._truths:
            yield torch.bincount(items, minlength=self._choices.n_items)

    def masked(self, config: ChoiceConfig, domain: ChoiceDomain) -> Iterator[Tensor]:
        """What each sends in a round of them all, read as if no masks were on it."""
        server = ChoiceServer(config, domain.items.vectors, domain.leading)
        cohort = [
            ChoiceDevice(OwnChoices(items, config.unobserved, config.l2))
            for items, _ in self._truths
        ]
        sent = secure_round(server, in_process(server, cohort), len(cohort)).vectors
        shape = server.shapes[0]
        for place in range(len(cohort)):
            numbers = from_words(sent[place][: shape.numel()])
            yield torch.from_numpy(numbers).view(shape)[:, -1]

    def summed(self, size: int, sums: int) -> Iterator[Tensor]:
        """Of so many sums over the device and others, ``size`` together.

        Each tells how many of the cohort chose an item: c, expected to be ``size`` times p. An item
        of the user's adds one to it, so with independent choices the odds that it is theirs are
        multiplied by ``c / (size p)``.
        """
        for device in self.devices:
            yield self._log_odds(int(device), size, sums)

    def _log_odds(self, device: int, size: int, sums: int) -> Tensor:
        expected = self._popularity.clamp_min(NONE).log()
        odds = expected
        for _ in range(sums):
            cohort = torch.from_numpy(self._cohort(device, size))
            counts = self._choices.of_users(cohort).popularity()
            odds = odds + (counts / size).clamp_min(NONE).log() - expected
        return odds

    def _cohort(self, device: int, size: int) -> Ints:
        """The device, last, and others."""
        others = self._members[self._members != device]
        return np.append(self._draw.choice(others, size - 1, replace=False), device)

    def _judged(self, evidence: str, suspicions: Iterable[Tensor]) -> Audit:
        """The server names the most suspected items, as many as the user chose."""
        readings = []
        for suspicion, (items, stars) in zip(suspicions, self._truths, strict=True):
            first = suspicion.argsort(descending=True, stable=True)[: len(items)]
            readings.append(Reading(suspicion, first, stars))
        return Audit(evidence, Leak.of(readings, self._truths, ANY))
