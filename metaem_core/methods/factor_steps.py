"""Stochastic factorisation: one Adam step a batch on U, V and a base model's head."""

import torch
from torch import Tensor

from metaem_core.federated.optimizers import NetworkAdam
from metaem_core.methods.factor_config import FactorConfig
from metaem_core.models.factors import init_head, item_vectors, match, user_vectors
from metaem_core.models.mlp import Parameters
from metaem_core.row_adam import RowAdam


class FactorSteps:
    """``min sum (y - match(u_i, v_j))^2`` over triples of user, item and value."""

    def __init__(
        self, config: FactorConfig, n_users: int, n_items: int, users: Tensor, items: Tensor
    ) -> None:
        """``users`` and ``items`` (R,) of the ratings; their values are :attr:`values`."""
        self.base = config.base
        start = torch.Generator().manual_seed(config.seed)
        self._table = torch.randn(n_users + n_items, config.size, generator=start) * config.init_std
        self.users, self.items = torch.split(self._table, [n_users, n_items])
        self.head = init_head(config.base, config.size, start)
        self.values = torch.zeros(len(users))
        self._rows = torch.stack([users, items + n_users])
        self._adam = RowAdam(self._table, config.learning_rate, config.l2)
        self._nets = NetworkAdam(self.head, config.learning_rate, 0.0) if self.head else None

    @property
    def live(self) -> tuple[Tensor, ...]:
        """What :meth:`step` changes; current after :meth:`settle`."""
        return self._table, *self.head

    def step(self, batch: Tensor) -> Tensor:
        """One Adam step on the batch's mean squared error; returns the summed one."""
        distinct, place = torch.unique(self._rows[:, batch], return_inverse=True)
        values = self._adam.read(distinct)
        rows = values.detach().requires_grad_()
        head: Parameters = tuple(p.detach().requires_grad_() for p in self.head)
        users = user_vectors(self.base, head, rows.index_select(0, place[0]))
        items = item_vectors(self.base, head, rows.index_select(0, place[1]))
        error = self.values[batch] - match(self.base, head, users, items)
        loss = torch.dot(error, error)
        gradient, *nets = torch.autograd.grad(loss / len(batch), [rows, *head])
        self._adam.step(distinct, values, gradient)
        if self._nets is not None:
            self._nets.step(tuple(nets))
        return loss.detach()

    def settle(self) -> None:
        """Bring every row up to date."""
        self._adam.settle()
