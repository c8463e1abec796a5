"""Independent pretraining of one domain: MF, GMF or a two-tower DNN by minibatches of ratings."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from metaem_core.bias import fitted_biases
from metaem_core.federated.optimizers import NetworkAdam
from metaem_core.federated.training import EpochStats, Errors, clipped_errors
from metaem_core.fitting import NOTHING_HELD_OUT, Schedule, fit
from metaem_core.methods.factor_config import FactorConfig
from metaem_core.models.factors import FactorModel, init_head, item_vectors, match, user_vectors
from metaem_core.models.mlp import Parameters
from metaem_core.ratings import Ratings, hold_out
from metaem_core.row_adam import RowAdam


class Factorisation:
    """Trains U, V and the head; :meth:`model` is the result once :meth:`epochs` has ended."""

    def __init__(self, config: FactorConfig, ratings: Ratings) -> None:
        self.config, self._ratings = config, ratings
        kept, self._held = hold_out(ratings, config.holdout, config.seed)
        start = torch.Generator().manual_seed(config.seed)
        rows = ratings.n_users + ratings.n_items  # users, then items
        self._table = torch.randn(rows, config.size, generator=start) * config.init_std
        self._head = init_head(config.base, config.size, start)
        self._untrained = self._model(kept)
        self._rows = torch.from_numpy(np.stack([kept.users, kept.items + ratings.n_users]))
        self._values = torch.from_numpy(kept.values) - _base_line(self._untrained, kept)
        self._tables = RowAdam(self._table, config.learning_rate, config.l2)
        self._nets = NetworkAdam(self._head, config.learning_rate, 0.0) if self._head else None

    def epochs(self) -> Iterator[EpochStats]:
        """Train to the end."""
        config = self.config
        schedule = Schedule(config.batch_size, config.epochs, config.patience, config.seed)
        live = {"table": self._table, **{f"head.{i}": p for i, p in enumerate(self._head)}}
        yield from fit(self._step, len(self._values), schedule, live, self._validate)
        self._tables.settle()

    def model(self) -> FactorModel:
        """The domain as it is now, its biases those of all ratings."""
        return self._model(self._ratings)

    def _model(self, known: Ratings) -> FactorModel:
        users, items = torch.split(self._table, [known.n_users, known.n_items])
        offsets, bias = torch.zeros(len(items)), torch.zeros(len(users), 0)
        if self.config.centred:
            biases = fitted_biases(known)
            offsets = torch.from_numpy(biases.mean + biases.item)
            bias = torch.from_numpy(biases.user).unsqueeze(1)
        return FactorModel(self.config.base, users, items, offsets, bias, self._head)

    def _step(self, batch: Tensor) -> Tensor:
        """One Adam step on the batch's mean squared error; returns the summed one."""
        base = self.config.base
        distinct, place = torch.unique(self._rows[:, batch], return_inverse=True)
        values = self._tables.read(distinct)
        rows = values.detach().requires_grad_()
        head: Parameters = tuple(p.detach().requires_grad_() for p in self._head)
        users = user_vectors(base, head, rows.index_select(0, place[0]))
        items = item_vectors(base, head, rows.index_select(0, place[1]))
        error = self._values[batch] - match(base, head, users, items)
        loss = torch.dot(error, error)
        gradient, *nets = torch.autograd.grad(loss / len(batch), [rows, *head])
        self._tables.step(distinct, values, gradient)
        if self._nets is not None:
            self._nets.step(tuple(nets))
        return loss.detach()

    def _validate(self) -> Errors:
        self._tables.settle()
        if len(self._held) == 0:
            return NOTHING_HELD_OUT
        users, items = torch.from_numpy(self._held.users), torch.from_numpy(self._held.items)
        predicted = self._untrained.rate_own(users, items)
        return clipped_errors(predicted, self._held.values, self.config.scale)


def _base_line(model: FactorModel, ratings: Ratings) -> Tensor:
    """What each rating (R,) is predicted to be without any taste."""
    offsets = model.offsets[torch.from_numpy(ratings.items)]
    return offsets + model.bias[torch.from_numpy(ratings.users)].sum(1)
