"""The privacy budget that a run with DP spends: its releases, and their account."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict, cast

import polars as pl

from data_contracts.training import NoisyReleases
from metaem_core.config.dp import PrivateConfig
from tasks.store.artifacts import ArtifactRef, Draft, Store

if TYPE_CHECKING:
    from metaem_core.privacy.dp.gaussian import Release

RELEASES, BUDGET = "releases.parquet", "privacy.json"
LOSSES = 0.1, 100.0  # epsilons for which privacy loss distributions are exact enough and quick


class Budget(TypedDict):
    """``privacy.json`` of a dp_transfer artifact: of all its run's releases together."""

    epsilon: float | None  # allowed; None: any
    delta: float
    spent: float | None  # epsilon in closed form (Balle and Wang 2018); None without noise
    spent_by_losses: float | None  # epsilon by dp-accounting; None where it is coarse or slow


def budget(config: PrivateConfig, released: "Sequence[Release]") -> Budget:
    """What these releases spend of a user's budget.

    Raises:
        ValueError: more than ``config`` allows.
    """
    from metaem_core.privacy.dp.gaussian import epsilon_by_losses, epsilon_of, mu_of, mu_of_releases

    if math.isinf(config.epsilon):
        return Budget(epsilon=None, delta=config.delta, spent=None, spent_by_losses=None)
    mu = mu_of_releases(released)
    spent = epsilon_of(mu, config.delta)
    if mu > mu_of(config.epsilon, config.delta) * (1 + 1e-9):
        raise ValueError(
            f"the run spent epsilon {spent:.6g} of a user's budget, and was allowed "
            f"{config.epsilon:g}: its domains were trained with other settings"
        )
    exact = LOSSES[0] <= config.epsilon <= LOSSES[1]
    by_losses = epsilon_by_losses(released, config.delta) if exact else None
    return Budget(
        epsilon=config.epsilon, delta=config.delta, spent=spent, spent_by_losses=by_losses
    )


def read_budget(store: Store, dp_transfer: ArtifactRef) -> Budget:
    """What the run behind the artifact spent."""
    return cast(Budget, store.read_json(dp_transfer, BUDGET))


def write_releases(draft: Draft, released: "Sequence[Release]") -> None:
    """Every noisy sum that left the devices."""
    frame = pl.DataFrame([*released], schema=NoisyReleases.column_names(), orient="row")
    draft.write_frame(RELEASES, NoisyReleases.cast(frame), NoisyReleases)


def read_releases(store: Store, ref: ArtifactRef) -> "list[Release]":
    """Those of a dp_biases or dp_transfer artifact."""
    from metaem_core.privacy.dp.gaussian import Release

    return [Release(*row) for row in store.read_frame(ref, RELEASES).iter_rows()]
