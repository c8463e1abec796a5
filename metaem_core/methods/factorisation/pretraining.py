"""Independent pretraining of one domain: MF, GMF or a two-tower DNN, trained centrally, or FCF."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from metaem_core.config.factor import FactorConfig
from metaem_core.data.bias import fitted_biases
from metaem_core.data.ratings import Ratings, hold_out
from metaem_core.methods.factorisation.central_steps import FactorSteps
from metaem_core.methods.factorisation.fcf_steps import FcfSteps
from metaem_core.models.factors import FactorModel
from metaem_core.training.epochs import EpochStats, Errors, clipped_errors
from metaem_core.training.minibatches import fit


class Factorisation:
    """Trains U, V and the head; :meth:`model` is the domain as of the last epoch yielded."""

    def __init__(self, config: FactorConfig, ratings: Ratings) -> None:
        self.config, self._ratings = config, ratings
        kept, self._held = hold_out(ratings, config.holdout, config.seed)
        users, items = torch.from_numpy(kept.users), torch.from_numpy(kept.items)
        self._steps = steps_of(config, ratings.n_users, ratings.n_items, users, items)
        self._kept_model = self._model(kept)
        self._steps.values = self._kept_model.residuals(kept)

    def epochs(self) -> Iterator[EpochStats]:
        """Train to the end."""
        steps = self._steps
        yield from fit(steps.step, steps.n, self.config, steps.live, self._validate)

    def model(self) -> FactorModel:
        """The domain as it is now, its biases those of all ratings."""
        return self._model(self._ratings)

    def _model(self, known: Ratings) -> FactorModel:
        users, items, head = self._steps.users, self._steps.items, self._steps.head
        offsets, bias = torch.zeros(len(items)), torch.zeros(len(users), 0)
        if self.config.centred:
            biases = fitted_biases(known)
            offsets = torch.from_numpy(biases.mean + biases.item)
            bias = torch.from_numpy(biases.user).unsqueeze(1)
        return FactorModel(self._steps.base, users, items, offsets, bias, head)

    def _validate(self) -> Errors:
        self._steps.settle()
        if len(self._held) == 0:
            return Errors(math.nan, math.nan)
        users, items = torch.from_numpy(self._held.users), torch.from_numpy(self._held.items)
        predicted = self._kept_model.rate_own(users, items)
        return clipped_errors(predicted, self._held.values, self.config.scale)


def steps_of(
    config: FactorConfig, n_users: int, n_items: int, users: Tensor, items: Tensor
) -> FactorSteps | FcfSteps:
    """The steps that train the base model on ratings of ``users`` and ``items`` (R,)."""
    steps = FcfSteps if config.base == "fcf" else FactorSteps
    return steps(config, n_users, n_items, users, items)
