"""Stopping, resuming and what the two stages may see."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from metaem_core.config.mapping import MappingConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.pair import DomainPair, Queries
from metaem_core.data.ratings import Ratings
from metaem_core.federated.training import Training
from metaem_core.methods.metaem.cold_start import cold_predictor
from metaem_core.methods.metaem.mapping import MappingTraining
from metaem_core.methods.metaem.pretraining import Pretraining
from metaem_core.models.mapping import map_users
from metaem_core.training.epochs import Divergence, EpochStats
from tests.support.worlds import random_ratings

SOURCE = random_ratings(n_users=50, n_items=40, mean_count=8, seed=1)
TARGET = random_ratings(n_users=60, n_items=30, mean_count=7, seed=2)
PRETRAIN = PretrainConfig(
    hidden_size=16, user_size=8, common_size=8, private_size=4, cohort_size=8, epochs=4
)
MAPPING = MappingConfig(hidden_size=16, cohort_size=8, epochs=4)
STAGES = ["newton", "lazy", "personal", "clusters", "mapping by task", "mapping by distance"]
VECTORS = torch.randn(SOURCE.n_users, 8 + 3, generator=torch.Generator().manual_seed(4))


def run(training: Training, epochs: int | None = None) -> list[EpochStats]:
    return list(islice(training.epochs(lambda _: None), epochs))


def pair(target: Ratings, validation: range) -> tuple[DomainPair, Queries]:
    """Users 1-29 are in both domains: those before ``validation`` are cold, those after train."""
    user = np.arange(target.n_users)
    held = (user >= 1) & (user < validation.stop)
    own = target.of_users(held & (user >= validation.start))
    trainees = np.arange(validation.stop, 30)
    return (
        DomainPair(SOURCE, target.of_users(~held), trainees, trainees),
        Queries(own.users, own.items, own.values),
    )


def mapping(config: MappingConfig) -> MappingTraining:
    known, validation = pair(TARGET, range(1, 10))
    model = Pretraining(PRETRAIN, known.target).model()
    return MappingTraining(config, 1e-2, VECTORS, model, known, validation)


def stage(kind: str) -> Pretraining | MappingTraining:
    if kind.startswith("mapping"):
        return mapping(replace(MAPPING, loss="task" if "task" in kind else "distance"))
    if kind == "personal":
        return Pretraining(replace(PRETRAIN, item_tower="personal"), SOURCE)
    if kind == "clusters":
        return Pretraining(replace(PRETRAIN, clusters=3), SOURCE)
    length = 1.0 if kind == "newton" else 1e-2
    config = replace(PRETRAIN, tables=kind, table_learning_rate=length)  # type: ignore[arg-type]
    return Pretraining(config, SOURCE)


@pytest.mark.parametrize("kind", STAGES)
def test_a_resumed_training_ends_with_the_same_weights(kind: str) -> None:
    through, stopped, resumed = stage(kind), stage(kind), stage(kind)
    curve = run(through.training)
    assert run(stopped.training, 2) == curve[:2]
    resumed.training.load({k: v.clone() for k, v in stopped.training.state().items()})
    assert run(resumed.training) == curve[2:]
    for name, tensor in through.training.best_tensors().items():
        assert torch.equal(tensor, resumed.training.best_tensors()[name]), name
    assert curve[-1].loss < curve[0].loss


def test_the_seed_decides_and_nothing_else() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(np.random.default_rng().integers(1 << 30))
        one = Pretraining(replace(PRETRAIN, seed=seed), SOURCE)
        run(one.training)
        return one.model().user_embeddings

    assert torch.equal(weights(5), weights(5))
    assert not torch.equal(weights(5), weights(6))


def test_the_result_is_the_best_epoch_not_the_last() -> None:
    eager = Pretraining(replace(PRETRAIN, learning_rate=0.1, epochs=30, patience=4), SOURCE)
    curve = run(eager.training)
    errors = [epoch.validation_rmse for epoch in curve]
    assert all(epoch.validation_mae < epoch.validation_rmse for epoch in curve)
    assert len(curve) == int(np.argmin(errors)) + 1 + 4 < 30
    again = Pretraining(
        replace(PRETRAIN, learning_rate=0.1, patience=4, epochs=int(np.argmin(errors)) + 1),
        SOURCE,
    )
    run(again.training)
    assert torch.equal(eager.model().user_embeddings, again.model().user_embeddings)


def test_divergence_stops_with_a_clear_error() -> None:
    wild = Pretraining(replace(PRETRAIN, learning_rate=1e30, patience=50, epochs=50), SOURCE)
    with pytest.raises(Divergence, match="lower the learning rate"):
        run(wild.training)


def test_ratings_of_untrained_users_reach_neither_pretraining_nor_mapping() -> None:
    """A target rating of a held-out user, changed, may not change a single bit of the result."""

    def cold_ratings(values: np.ndarray) -> np.ndarray:
        known, validation = pair(replace(TARGET, values=values), range(5, 10))
        pretraining = Pretraining(PRETRAIN, known.target)
        run(pretraining.training)
        model = pretraining.model()
        work = MappingTraining(MAPPING, 1e-2, VECTORS, model, known, validation)
        run(work.training)
        predict = cold_predictor(lambda users: map_users(work.mapping(), VECTORS[users]), model)
        return predict(np.repeat(np.arange(1, 5), 30), np.tile(np.arange(30), 4))

    planted = TARGET.values.copy()
    planted[(TARGET.users >= 1) & (TARGET.users < 5)] = 1.0
    np.testing.assert_array_equal(cold_ratings(TARGET.values), cold_ratings(planted))
    shown = TARGET.values.copy()
    shown[TARGET.users == 20] = 1.0
    assert (cold_ratings(TARGET.values) != cold_ratings(shown)).any()
