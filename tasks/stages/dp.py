"""MetaEM under differential privacy: both stages, and the account of what they let out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from data_contracts.releases import NoisyReleases
from metaem_core.config.dp import PrivateConfig
from tasks.models.budget import ACCOUNT, Account
from tasks.models.data import read_domain, read_pair, training_ratings
from tasks.store.artifacts import ArtifactRef, Draft, Store
from tasks.store.stage import stage

if TYPE_CHECKING:
    from metaem_core.privacy.dp.gaussian import Release

RELEASES = "releases.parquet"
LOSSES = 0.1, 100.0  # epsilons for which privacy loss distributions are exact enough and quick


@stage("pretrain")
def pretrain_private(
    store: Store, config: PrivateConfig, domain: ArtifactRef, split: ArtifactRef | None
) -> ArtifactRef:
    """The biases of a domain; ``split`` removes the held-out users' ratings from a target."""
    # torch is imported only by runs that train
    from metaem_core.privacy.dp.bias_transfer import private_domain, releases
    from tasks.models.metaem import write_model

    known = read_domain(store, domain)
    ratings = training_ratings(store, known, split)
    made = releases(config, "source" if split is None else "target", ratings)
    model = private_domain(ratings, config, made)
    with store.draft() as draft:
        write_model(draft, model, known)
        _write_releases(draft, made.made)
    return draft.ref


@stage("mapping")
def mapping_private(
    store: Store,
    config: PrivateConfig,
    source_model: ArtifactRef,
    target_model: ArtifactRef,
    source: ArtifactRef,
    target: ArtifactRef,
    split: ArtifactRef,
) -> ArtifactRef:
    """The line from source to target biases, and what the whole run told of a user.

    Raises:
        ValueError: the releases on record tell more than the run was allowed.
    """
    # torch is imported only by runs that train
    import torch

    from metaem_core.models.mapping import map_users
    from metaem_core.privacy.dp.bias_transfer import private_mapping, releases
    from tasks.models.metaem import read_model, read_user_vectors, write_mapping
    from tasks.models.train import write_curve

    known = read_pair(store, source, target, split)
    pair, shared = known.pair, known.roles.shared
    profiles, model = read_user_vectors(store, source_model), read_model(store, target_model)
    made = releases(config, "mapping", pair.source, pair.target)
    theta = private_mapping(profiles, model, pair, config, made)
    before = [each for ref in (source_model, target_model) for each in _read_releases(store, ref)]
    account = _account(config, [*before, *made.made])
    mapped = map_users(theta, profiles[torch.from_numpy(known.source.users(shared))])
    with store.draft() as draft:
        write_mapping(draft, theta, shared, mapped)
        write_curve(draft, [])
        _write_releases(draft, made.made)
        draft.write_json(ACCOUNT, account)
    return draft.ref


def _account(config: PrivateConfig, made: "Sequence[Release]") -> Account:
    from metaem_core.privacy.dp.gaussian import epsilon_by_losses, epsilon_of, mu_of, mu_of_releases

    if config.unlimited:
        return Account(epsilon=None, delta=config.delta, spent=None, spent_by_losses=None)
    told = mu_of_releases(made)
    if told > mu_of(config.epsilon, config.delta) * (1 + 1e-9):
        raise ValueError(
            f"the run told epsilon {epsilon_of(told, config.delta):.6g} of a user, and was allowed "
            f"{config.epsilon:g}: its pretrained domains are of other settings"
        )
    by_losses = None
    if LOSSES[0] <= config.epsilon <= LOSSES[1]:
        by_losses = epsilon_by_losses(made, config.delta)
    return Account(
        epsilon=config.epsilon,
        delta=config.delta,
        spent=epsilon_of(told, config.delta),
        spent_by_losses=by_losses,
    )


def _write_releases(draft: Draft, made: "Sequence[Release]") -> None:
    frame = pl.DataFrame(
        [tuple(each) for each in made],
        schema={"release": pl.String, "clip": pl.Float64, "deviation": pl.Float64},
        orient="row",
    )
    draft.write_frame(RELEASES, frame, NoisyReleases)


def _read_releases(store: Store, ref: ArtifactRef) -> "list[Release]":
    from metaem_core.privacy.dp.gaussian import Release

    return [Release(*row) for row in store.read_frame(ref, RELEASES).iter_rows()]
