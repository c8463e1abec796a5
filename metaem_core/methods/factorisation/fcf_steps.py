"""Federated factorisation (FCF): one round a batch, of devices instead of ratings."""

import torch
from torch import Tensor

from metaem_core.config.factor import Base, FactorConfig
from metaem_core.data.choices import Choices
from metaem_core.federated.device import PrivateRatings
from metaem_core.federated.fcf import FcfServer, ItemDownload, fcf_step, solve_users
from metaem_core.models.mlp import Parameters
from metaem_core.training.seeds import derived_generator


class FcfSteps:
    """``min sum (y - u_i . v_j)^2 + lambda |u_i|^2``: V by the server, each u on its device."""

    base: Base = "mf"  # what it trains
    head: Parameters = ()

    def __init__(
        self, config: FactorConfig, n_users: int, n_items: int, users: Tensor, items: Tensor
    ) -> None:
        """``users`` and ``items`` (R,) of the ratings; their values are :attr:`values`."""
        draw = derived_generator(config.seed, n_users, n_items)
        start = torch.randn(n_items, config.size, generator=draw) * config.init_std
        self._server = FcfServer(start, config.learning_rate, config.l2, config.damping)
        self.users, self.items = torch.zeros(n_users, config.size), self._server.adam.table
        self.values = torch.zeros(len(users))
        self._order = users.argsort(stable=True)
        pairs = users[self._order].numpy(), items[self._order].numpy()
        self._rated = Choices.of_pairs(*pairs, n_users, n_items)
        self._devices, self._cohort_size = self._rated.counts.nonzero().flatten(), config.batch_size
        self.n = len(self._devices)

    @property
    def live(self) -> tuple[Tensor, ...]:
        """What :meth:`step` changes; current after :meth:`settle`."""
        return self.items, self.users

    def step(self, batch: Tensor) -> Tensor:
        """One round of a cohort; returns its mean squared error, once a device."""
        download, ratings = self._round(self._devices.index_select(0, batch))
        upload = fcf_step(download, ratings, len(batch))
        self._server.apply(upload)
        return torch.tensor(upload.squared_error / upload.n_ratings * len(batch))

    def settle(self) -> None:
        """Bring every item up to date, and have every device solve its vector from them."""
        self._server.adam.settle()
        for cohort in torch.split(self._devices, self._cohort_size):
            self.users[cohort] = solve_users(*self._round(cohort), len(cohort))

    def _round(self, cohort: Tensor) -> tuple[ItemDownload, PrivateRatings]:
        """The download of a cohort, which holds the items that it rated, and its ratings."""
        places = self._rated.rows(cohort)
        rows, items = torch.unique(self._rated.items[places], return_inverse=True)
        owner = torch.arange(len(cohort)).repeat_interleave(self._rated.counts[cohort])
        ratings = PrivateRatings(owner, items, self.values[self._order[places]])
        return self._server.download(rows), ratings
