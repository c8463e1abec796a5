"""Stochastic factorisation: one Adam step a batch on U, V and a base model's head."""

import torch
from torch import Tensor

from metaem_core.config.factor import FactorConfig
from metaem_core.models.factors import init_head, item_vectors, match, user_vectors
from metaem_core.models.mlp import Parameters
from metaem_core.training.optimizers import NetworkAdam
from metaem_core.training.row_adam import RowAdam
from metaem_core.training.seeds import derived_generator


class FactorSteps:
    """``min sum (y - match(u_i, v_j))^2`` over triples of user, item and value."""

    def __init__(
        self, config: FactorConfig, n_users: int, n_items: int, users: Tensor, items: Tensor
    ) -> None:
        """``users`` and ``items`` (R,) of the ratings; their values are :attr:`values`."""
        self.base = config.base
        draw = derived_generator(config.seed, n_users, n_items)
        start = torch.randn(n_users + n_items, config.size, generator=draw) * config.init_std
        self._adam = RowAdam(start, config.learning_rate, config.l2)
        self.users, self.items = torch.split(self._adam.table, [n_users, n_items])
        self.head = init_head(config.base, config.size, draw)
        self._nets = NetworkAdam(self.head, config.learning_rate, 0.0) if self.head else None
        self._rows = torch.stack([users, items + n_users])
        self.values, self.n = torch.zeros(len(users)), len(users)

    @property
    def live(self) -> tuple[Tensor, ...]:
        """What :meth:`step` changes; current after :meth:`settle`."""
        return self._adam.table, *self.head

    def step(self, batch: Tensor) -> Tensor:
        """One Adam step on the batch's mean squared error; returns the summed one."""
        rows = self._adam.read(self._rows.index_select(1, batch).flatten())
        values = self.values.index_select(0, batch)
        if self._nets is None:
            loss, slope = _mf_gradient(rows, values)
        else:
            loss, slope, nets = self._gradient(rows, values)
            self._nets.step(nets)
        self._adam.step(slope)
        return loss

    def settle(self) -> None:
        """Bring every row up to date."""
        self._adam.settle()

    def _gradient(self, rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Parameters]:
        """The summed squared error, and the mean one's gradient by rows (2B, k) and head."""
        rows = rows.detach().requires_grad_()
        head: Parameters = tuple(p.detach().requires_grad_() for p in self.head)
        users, items = rows.chunk(2)
        mine, theirs = user_vectors(self.base, head, users), item_vectors(self.base, head, items)
        error = values - match(self.base, head, mine, theirs)
        loss = torch.dot(error, error)
        slope, *nets = torch.autograd.grad(loss / len(values), [rows, *head])
        return loss.detach(), slope, tuple(nets)


def _mf_gradient(rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The same for ``u . v``, by hand because it takes most of a comparison's time."""
    pairs = rows.view(2, len(values), -1)
    error = values - (pairs[0] * pairs[1]).sum(1)
    slope = pairs.flip(0) * (error * (-2 / len(values))).unsqueeze(1)
    return torch.dot(error, error), slope.flatten(0, 1)
