"""The attacks, run on trained domains."""

from functools import partial

import numpy as np

from metaem_core.config.choice import ChoiceConfig
from metaem_core.config.dp import PrivateConfig
from metaem_core.data.bias import fitted_biases
from metaem_core.data.choices import ChoicePair, Thresholds
from metaem_core.data.ratings import RatingScale
from metaem_core.privacy.attacks.audit import Attacks, Audit
from metaem_core.privacy.attacks.choices import ChoiceAttacks
from metaem_core.privacy.attacks.membership import Canaries, Membership, inferred
from metaem_core.privacy.dp.bias_transfer import releases
from metaem_core.privacy.dp.biases import domain_sum, dp_item_levels, noisy_sums
from tasks.models.choice import read_choice_domain
from tasks.models.data import read_domain, read_pair
from tasks.models.metaem import read_model
from tasks.store.artifacts import ArtifactRef, Store

CANARIES = 400


def audit(
    store: Store,
    domain: ArtifactRef,
    model: ArtifactRef,
    scale: RatingScale,
    devices: int,
    cohort: int,
    seed: int,
) -> list[Audit]:
    """Attack one upload of each of ``devices`` devices of a pretrained domain, layout by layout."""
    ratings, trained = read_domain(store, domain).ratings, read_model(store, model)
    return list(Attacks(trained, ratings, scale, devices, seed).audits(cohort))


def audit_choices(
    store: Store,
    config: ChoiceConfig,
    thresholds: Thresholds,
    model: ArtifactRef,
    pair: tuple[ArtifactRef, ArtifactRef, ArtifactRef],
    devices: int,
) -> list[Audit]:
    """The same of choices: the pretraining of the source, and the sums over the overlap.

    Args:
        model: of the source.
        pair: source, target and split.
    """
    chosen = ChoicePair.of(read_pair(store, *pair).pair, thresholds)
    domain, members = read_choice_domain(store, model), chosen.source.counts.nonzero().flatten()
    attacks = ChoiceAttacks(chosen.source, members, devices, config.seed)
    mine, theirs = chosen.in_both()
    overlap = ChoiceAttacks(chosen.target, theirs, devices, config.seed)
    rare = ChoiceAttacks(chosen.source, mine, devices, config.seed)
    rows = rare.rare(domain.leading, chosen.target.of_users(theirs))
    return [*attacks.pretraining(config, domain), *overlap.overlap(), *rows]


def membership(
    store: Store, domain: ArtifactRef, scale: RatingScale, seed: int, private: PrivateConfig | None
) -> Membership:
    """What a domain's item biases tell of who is among the users.

    Every layout publishes them. With ``private`` the attack is on those that this domain would
    publish as the target of a private run.
    """
    ratings = read_domain(store, domain).ratings
    size = round(len(ratings) / len(np.unique(ratings.users)))
    canaries = Canaries.drawn(CANARIES, min(size, ratings.n_items), ratings.n_items, scale, seed)
    among = canaries.among(ratings)
    if private is not None:
        noisy = noisy_sums(partial(domain_sum, among, scale), releases(private, "target", among))
        return inferred(canaries, dp_item_levels(noisy, among.n_items).astype(np.float32))
    biases = fitted_biases(among)
    return inferred(canaries, biases.item + biases.mean)
