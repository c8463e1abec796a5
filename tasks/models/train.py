"""Running a training with a checkpoint an epoch and news of its progress."""

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import polars as pl
from torch import Tensor

from data_contracts.training import LearningCurve, TrainingTraffic
from metaem_core.config.choice import ChoiceConfig
from metaem_core.config.mapping import MappingConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.choices import ChoicePair
from metaem_core.federated.choice.bytes import features_traffic, overlap_traffic
from metaem_core.federated.encoding import Traffic
from metaem_core.federated.rounds import RoundStats
from metaem_core.federated.training import Training
from metaem_core.models.choice import ItemFactors
from metaem_core.models.choice_mapping import SourceFeatures
from metaem_core.training.epochs import Divergence, EpochStats
from tasks.progress import advance
from tasks.store.artifacts import Draft, Store
from tasks.store.checkpoints import Checkpoint

NOTHING = Traffic(0, 0)


class Epochs(Protocol):
    """A training with a checkpoint an epoch: of stars or of choices."""

    users: Tensor
    epoch: Tensor

    @property
    def config(self) -> PretrainConfig | MappingConfig | ChoiceConfig:
        """How long it lasts."""
        ...

    @property
    def cohort_size(self) -> int:
        """Devices a round."""
        ...

    def epochs(self, on_round: Callable[[RoundStats], None]) -> Iterator[EpochStats]:
        """Train on from the current epoch."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Live tensors by name."""
        ...

    def load(self, saved: dict[str, Tensor]) -> None:
        """Continue where a saved state stopped."""
        ...


def train(store: Store, training: Epochs, part: str = "training") -> None:
    """Train to the end, from the last checkpoint of this part of the work if there is one."""
    checkpoint = Checkpoint(store.scratch / part.replace(" ", "-"))
    if (saved := checkpoint.load()) is not None:
        training.load(saved[1])
    total = training.config.epochs
    rounds = -(-len(training.users) // training.cohort_size)
    done = 0

    def on_round(stats: RoundStats) -> None:
        nonlocal done
        done += 1
        loss = stats.squared_error / max(stats.n_ratings, 1)
        epoch = int(training.epoch) - 1 + min(done / rounds, 1)
        advance(epoch, total, note=f"{part}, loss {loss:.3f}")

    for stats in training.epochs(on_round):
        checkpoint.save(stats.epoch, training.state())
        done = 0
        advance(stats.epoch, total, note=f"{part}, {stats.news}")
    advance(total, total, note=f"{part}, {int(training.epoch)} epochs")


def train_best(store: Store, trainings: list[Training], rates: tuple[float, ...]) -> int:
    """Train every candidate; the position of the one that validates best, diverged ones aside."""
    scores: list[float] = []
    failure: Divergence | None = None
    for rate, training in zip(rates, trainings, strict=True):
        try:
            train(store, training, f"learning rate {rate:g}")
            scores.append(training.best_rmse)
        except Divergence as error:
            failure = error
            scores.append(math.inf)
    if failure is not None and min(scores) == math.inf:
        raise failure
    return scores.index(min(scores))


def write_curve(draft: Draft, curve: list[EpochStats]) -> None:
    """The learning curve; an epoch that nothing validates has no such errors."""
    rows = pl.DataFrame(curve, schema=LearningCurve.column_names(), orient="row")
    frame = LearningCurve.cast(rows)
    validated = pl.col("validation_mae", "validation_rmse").fill_nan(None)
    draft.write_frame("curve.parquet", frame.with_columns(validated), LearningCurve)


class Cost(NamedTuple):
    """What a training sends."""

    devices: int
    cohort_size: int
    epochs: int  # of all settings that were tried
    epoch: Traffic  # of all devices
    beside: Traffic  # what no epoch holds


def cost_of(trainings: Sequence[Epochs], epoch: Traffic, once: Traffic = NOTHING) -> Cost:
    """The cost of simulated trainings of the same devices.

    Args:
        trainings: one for each setting that was tried.
        epoch: bytes of one epoch of all devices.
        once: bytes of one device, beside the rounds.
    """
    devices, epochs = len(trainings[0].users), sum(int(training.epoch) for training in trainings)
    beside = Traffic(devices * once.down, devices * once.up)
    return Cost(devices, trainings[0].cohort_size, epochs, epoch, beside)


def cost_of_overlap(features: SourceFeatures, target: ItemFactors, pair: ChoicePair) -> Cost:
    """The cost of a simulated mapping of choices: one round, after the features of all users."""
    devices, users = len(pair.in_both()[0]), int(pair.source.counts.count_nonzero())
    epoch = Traffic(*(devices * way for way in overlap_traffic(target, features, devices)))
    beside = Traffic(*(users * way for way in features_traffic(features)))
    return Cost(devices, devices, 1, epoch, beside)


def write_cost(draft: Draft, cost: Cost) -> None:
    """Bytes of a device's round, a round, an epoch and everything."""
    rounds = -(-cost.devices // cost.cohort_size)
    shares = {"device": 1 / cost.devices, "round": 1 / rounds, "epoch": 1, "run": cost.epochs}
    costs = {span: [round(way * share) for way in cost.epoch] for span, share in shares.items()}
    costs["run"] = [way + more for way, more in zip(costs["run"], cost.beside, strict=True)]
    rows = [(span, *ways) for span, ways in costs.items()]
    frame = pl.DataFrame(rows, schema=TrainingTraffic.column_names(), orient="row")
    draft.write_frame("traffic.parquet", TrainingTraffic.cast(frame), TrainingTraffic)


def forget(store: Store) -> None:
    """Drop the checkpoints of work whose artifact is published."""
    shutil.rmtree(store.scratch, ignore_errors=True)
