"""What a server learns of who chose which items: from requests, and from sums over cohorts."""

from collections.abc import Iterable, Iterator
from itertools import repeat

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from metaem_core.config.choice import ChoiceConfig
from metaem_core.data.choices import Choices
from metaem_core.data.ratings import RatingScale
from metaem_core.federated.choice.device import ChoiceDevice, OwnChoices, choice_step
from metaem_core.federated.choice.server import ChoiceServer
from metaem_core.federated.secure.coding import from_words
from metaem_core.federated.secure.server import secure_round
from metaem_core.federated.secure.simulation import in_process
from metaem_core.models.choice import LEAST, ChoiceDomain, enough, mean_rows, places_along
from metaem_core.privacy.attacks.audit import PRIOR, Audit
from metaem_core.privacy.attacks.reconstruction import Leak, Reading

ANY = RatingScale()  # every choice is taken for one of the most stars
NONE = 1e-9  # what popularity weighs beside a row: it decides ties


class ChoiceAttacks:
    """Evidence about some users, and their server's look at it.

    The server knows the popularity of items and how many each user chose.
    """

    def __init__(self, choices: Choices, members: Tensor, devices: int, seed: int) -> None:
        """``devices`` of the ``members``, who each have a choice, are drawn; or all of them."""
        self._choices, self._members = choices, members.numpy()
        self._popularity = choices.popularity() / int(choices.counts.count_nonzero())
        size = min(devices, len(members))
        draw = np.random.default_rng(seed)
        self.devices = np.sort(draw.choice(self._members, size, replace=False))
        own = (choices.of_users(torch.tensor([int(device)])).items for device in self.devices)
        self._truths = [(items, torch.full((len(items),), ANY.high)) for items in own]

    def pretraining(self, config: ChoiceConfig, domain: ChoiceDomain) -> Iterator[Audit]:
        """Of a pretrained domain: both layouts, what two sums tell, then popularity alone."""
        own = self._choices.of_users(torch.from_numpy(self._members))
        rows = self.on_rows(domain.leading, mean_rows(domain.leading, own), own, LEAST)
        yield self._judged("rows", self.requested())
        yield self._judged("secure", self.masked(config, domain))
        yield self._judged(f"secure, counts of {len(self._members):,}", self.counted())
        yield self._judged(f"secure, rows of {LEAST} users or more", rows)
        yield self._judged("secure, two sums, one without the user", self.differences(domain))
        yield self._judged(PRIOR, self.guessed())

    def overlap(self) -> Iterator[Audit]:
        """Of the counts over all members, which a mapping begins with, then popularity alone."""
        yield self._judged(f"mapping, counts of {len(self._members):,}", self.counted())
        yield self._judged(f"{PRIOR} in the target", self.guessed())

    def rare(self, leading: Tensor, target: Choices) -> Iterator[Audit]:
        """Of the mapping's sum: which source items its rows of few users tell.

        Args:
            leading: Q of the source (n, p).
            target: what the members chose there, in their order.
        """
        own = self._choices.of_users(torch.from_numpy(self._members))
        rows = self.on_rows(leading, places_along(leading, own), target, LEAST)
        yield self._judged(f"mapping, rows of {LEAST} users or more", rows)
        yield self._judged(f"{PRIOR} in the source", self.guessed())

    def on_rows(
        self, leading: Tensor, added: Tensor, target: Choices, least: int
    ) -> Iterator[Tensor]:
        """The server takes the row of the fewest users among those of each user's items.

        It solves for the x of no negative number that fits best. Without a row that ``least`` users
        or more have, it knows the popularity alone.

        Args:
            leading: Q (n, p).
            added: what each member adds to the rows of their target items (B, p).
            target: what the members chose there, in their order.
        """
        prior, counts = self._popularity * NONE, target.popularity()
        directions = leading.T.double().numpy()
        for device in self.devices:
            (place,) = np.flatnonzero(self._members == device)
            items = target.items[target.start[place] : target.start[place + 1]]
            items = items[counts[items] >= least]
            if len(items) == 0:
                yield prior
                continue
            users = target.owner[target.items == items[counts[items].argmin()]]
            row = added[users].sum(0).double().numpy()
            yield torch.from_numpy(nnls(directions, row)[0]) + prior

    def differences(self, domain: ChoiceDomain) -> Iterator[Tensor]:
        """Of two sums at the same V and Q, the second without one device: what it had added."""
        summed = enough(domain.popularity)
        for device in self.devices:
            own = self._choices.of_users(torch.tensor([int(device)]))
            upload = choice_step(domain.items, domain.leading, summed, own)
            yield torch.cat([upload.items, upload.leading], 1).norm(dim=1)

    def requested(self) -> Iterator[Tensor]:
        """A device of an open round names its items."""
        for items, _ in self._truths:
            yield torch.bincount(items, minlength=self._choices.n_items)

    def masked(self, config: ChoiceConfig, domain: ChoiceDomain) -> Iterator[Tensor]:
        """What each sends in a round of them all, read as if no masks were on it."""
        server = ChoiceServer(config, domain.items.vectors, domain.leading)
        server.popularity.copy_(domain.popularity)
        cohort = [
            ChoiceDevice(OwnChoices(items, config.unobserved, config.l2))
            for items, _ in self._truths
        ]
        sent = secure_round(server, in_process(server, cohort), len(cohort)).vectors
        shape = server.shapes[0]
        for place in range(len(cohort)):
            numbers = from_words(sent[place][: shape.numel()])
            yield torch.from_numpy(numbers).view(shape).norm(dim=1)

    def counted(self) -> Iterator[Tensor]:
        """How many members chose each item."""
        counts = self._choices.of_users(torch.from_numpy(self._members)).popularity()
        yield from repeat(counts, len(self.devices))

    def guessed(self) -> Iterator[Tensor]:
        """The popularity of each item among all users."""
        yield from repeat(self._popularity, len(self.devices))

    def _judged(self, evidence: str, suspicions: Iterable[Tensor]) -> Audit:
        """The server names the most suspected items, as many as the user chose."""
        readings = []
        for suspicion, (items, stars) in zip(suspicions, self._truths, strict=True):
            first = suspicion.argsort(descending=True, stable=True)[: len(items)]
            readings.append(Reading(suspicion, first, stars))
        return Audit(evidence, Leak.of(readings, self._truths, ANY))
