"""MetaEM's half of choice, stage 1: federated pretraining of one domain (Algorithm 1)."""

import torch

from metaem_core.config.choice import ChoiceConfig
from metaem_core.data.choices import Choices
from metaem_core.federated.choice.bytes import choice_epoch_traffic, count_traffic
from metaem_core.federated.choice.server import ChoiceServer
from metaem_core.federated.choice.training import ChoiceTraining, SimulatedChoices
from metaem_core.federated.encoding import Traffic
from metaem_core.models.choice import ChoiceDomain, ItemFactors
from metaem_core.training.seeds import derived_generator


class ChoicePretraining:
    """Stage 1 for one domain; ``training`` does the work, :meth:`model` is the result."""

    def __init__(
        self, config: ChoiceConfig, choices: Choices, dtype: torch.dtype = torch.float32
    ) -> None:
        if len(choices) == 0:
            raise ValueError("a domain without choices teaches nothing; check choice.threshold")
        self.config, self._choices = config, choices
        draw = derived_generator(config.seed, choices.n_users, choices.n_items)
        shape = choices.n_items, config.size
        start = torch.randn(shape, generator=draw, dtype=dtype) * (0.1 / config.size**0.5)
        width = min(config.leading, choices.n_items)
        leading = torch.randn(choices.n_items, width, generator=draw, dtype=dtype)
        self._server = ChoiceServer(config, start, torch.linalg.qr(leading).Q.contiguous())
        rounds, users = SimulatedChoices(self._server, choices), choices.counts.nonzero().flatten()
        self.training = ChoiceTraining(config, self._server, rounds, users)

    def traffic(self) -> tuple[Traffic, Traffic]:
        """Bytes of one epoch, and of all that is not one: the counts and the pass after the last.

        The requests of an open epoch are the counts.
        """
        counts, n_items = self._choices.counts.numpy(), self._choices.n_items
        counts = counts[counts > 0]
        epoch, devices = choice_epoch_traffic(self.config, n_items, counts), len(counts)
        if self.config.payload == "rows":
            return epoch, epoch
        once = count_traffic(n_items, devices)
        return epoch, Traffic(epoch.down + devices * once.down, epoch.up + devices * once.up)

    def model(self) -> ChoiceDomain:
        """The domain after the last epoch."""
        server, config = self._server, self.config
        items = ItemFactors.of(server.vectors, config.unobserved, config.l2)
        sums = server.popularity, server.moments
        return ChoiceDomain(items, *(each.clone() for each in (*sums, server.leading)))
