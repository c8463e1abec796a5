"""Running a training with a checkpoint an epoch and news of its progress."""

import math
import shutil

import polars as pl

from data_contracts.curves import LearningCurve
from data_contracts.traffic import SPANS, TrainingTraffic
from metaem_core.federated.exchange import Traffic
from metaem_core.federated.rounds import RoundStats
from metaem_core.federated.training import Divergence, EpochStats, Training
from tasks.artifacts import Draft, Store
from tasks.checkpoints import Checkpoint
from tasks.progress import advance


def train(store: Store, training: Training, part: str = "training") -> None:
    """Train to the end, from the last checkpoint of this part of the work if there is one."""
    checkpoint = Checkpoint(store.scratch / part.replace(" ", "-"))
    if (saved := checkpoint.load()) is not None:
        training.load(saved[1])
    total = training.schedule.epochs
    rounds = -(-len(training.users) // training.schedule.cohort_size)
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
        advance(stats.epoch, total, note=f"{part}, validation RMSE {stats.validation_rmse:.4f}")
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
    frame = pl.DataFrame(
        curve,
        schema={
            "epoch": pl.UInt32,
            "loss": pl.Float64,
            "validation_mae": pl.Float64,
            "validation_rmse": pl.Float64,
            "ratings": pl.UInt64,
        },
        orient="row",
    )
    validated = pl.col("validation_mae", "validation_rmse").fill_nan(None)
    draft.write_frame("curve.parquet", frame.with_columns(validated), LearningCurve)


def write_traffic(draft: Draft, training: Training, epoch: Traffic) -> None:
    """Bytes of a device's round, a round, an epoch and the whole training."""
    devices, size = len(training.users), training.schedule.cohort_size
    rounds = -(-devices // size)
    shares = {"device": 1 / devices, "round": 1 / rounds, "epoch": 1, "run": int(training.epoch)}
    frame = pl.DataFrame(
        {
            "span": pl.Series([*shares], dtype=pl.Enum(SPANS)),
            "down": [round(epoch.down * share) for share in shares.values()],
            "up": [round(epoch.up * share) for share in shares.values()],
        },
        schema_overrides={"down": pl.UInt64, "up": pl.UInt64},
    )
    draft.write_frame("traffic.parquet", frame, TrainingTraffic)


def forget(store: Store) -> None:
    """Drop the checkpoints of work whose artifact is published."""
    shutil.rmtree(store.scratch, ignore_errors=True)
