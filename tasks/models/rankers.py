"""Methods that order a target's items for users without a target row: by choice, or by stars."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from metaem_core.config.choice import ChoiceBaselinesConfig
from metaem_core.data.choices import ChoicePair, Scores
from metaem_core.data.pair import Predict
from metaem_core.methods.baselines.trivial import TRIVIAL
from metaem_core.methods.choice_baselines.registry import CHOICE_BASELINES
from tasks.models.choice import read_choice_model
from tasks.models.data import SplitPair
from tasks.models.method_id import MethodId
from tasks.models.predictors import metaem_of, read_others
from tasks.store.artifacts import ArtifactRef, Store

METAEM_CHOICE = MethodId("metaem_choice", profile="calibrated")
Ranker = tuple[MethodId, Callable[[], Scores]]  # the scores are fitted when they are wanted


def choice_rankers(
    store: Store, pair: ChoicePair, choice_mapping: ArtifactRef, config: ChoiceBaselinesConfig
) -> list[Ranker]:
    """MetaEM by choice, and the baselines of lists; fitting one may raise TooLarge."""

    def ours() -> Scores:
        return read_choice_model(store, choice_mapping).scores_of(pair.source)

    baselines = [(MethodId(n), partial(fit, pair, config)) for n, fit in CHOICE_BASELINES.items()]
    return [(METAEM_CHOICE, ours), *baselines]


def star_rankers(
    store: Store, data: SplitPair, star_mapping: ArtifactRef, others: Sequence[ArtifactRef]
) -> list[Ranker]:
    """MetaEM, the trivial predictors and other methods, by the stars that they predict."""
    n_items, pair = data.target.ratings.n_items, data.pair
    trained = [metaem_of(store, star_mapping), *read_others(store, others, data.source)]
    predictors = [(MethodId(name), fit(pair)) for name, fit in TRIVIAL.items()]
    predictors += [(each.method, each.predict) for each in trained]
    return [(method, partial(_by_stars, predict, n_items)) for method, predict in predictors]


def _by_stars(predict: Predict, n_items: int) -> Scores:
    def scores(users: Tensor) -> Tensor:
        owner, items = np.repeat(users.numpy(), n_items), np.tile(np.arange(n_items), len(users))
        return torch.from_numpy(predict(owner, items)).view(len(users), n_items)

    return scores
