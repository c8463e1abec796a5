"""``metaem privacy-audit``: what a curious server reads out of uploads."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import STAGES, command

if TYPE_CHECKING:
    from flows.settings import Settings
    from flows.steps import Outcome
    from metaem_core.privacy.attacks.audit import Audit
    from tasks.store.artifacts import ArtifactRef

Devices = Annotated[int, typer.Option(min=3, help="How many devices to attack.")]


@command("task", *STAGES)
def privacy_audit(settings: "Settings", devices: Devices = 200) -> None:
    """Attack what devices send of stars and of choices, in every layout."""
    first = {"betas": settings.betas[:1], "seeds": settings.seeds[:1]}
    settings = settings.model_copy(update=first)
    from flows.cli.display import progress, stdout
    from flows.cli.tables import choice_audit_table
    from flows.experiment import run

    with progress():
        outcome = run(settings, until="choice_pretrain")
    if not settings.without_stars:
        _audit_stars(settings, outcome, devices)
    stdout().print(choice_audit_table(settings.task, devices, _choices(settings, outcome, devices)))


def _audit_stars(settings: "Settings", outcome: "Outcome", devices: int) -> None:
    from flows.cli.display import stdout
    from flows.cli.tables import audit_table
    from tasks.models.audit import audit

    domain, seed = settings.domains[0], settings.seeds[0]
    trained = dict(outcome.artifacts)[f"pretrain {domain} seed {seed}"]
    refs = outcome.domains[domain], trained
    cohort = settings.pretrain.cohort_size
    audits = audit(settings.open_store(), *refs, settings.scale, devices, cohort, seed)
    stdout().print(audit_table(domain, devices, audits))
    for line in _memberships(settings, refs[0]):
        stdout().print(line)


def _choices(settings: "Settings", outcome: "Outcome", devices: int) -> "list[Audit]":
    from tasks.models.audit import audit_choices

    names, seed = settings.domains, settings.seeds[0]
    model = dict(outcome.artifacts)[f"choice_pretrain {names[0]} seed {seed}"]
    (split,), config = outcome.splits.values(), replace(settings.choice, seed=seed)
    pair = outcome.domains[names[0]], outcome.domains[names[1]], split
    return audit_choices(settings.open_store(), config, settings.thresholds, model, pair, devices)


def _memberships(settings: "Settings", domain: "ArtifactRef") -> Iterator[str]:
    """How many synthetic users published item biases name, without DP and by epsilon."""
    from metaem_core.config.dp import PrivateConfig
    from metaem_core.privacy.attacks.membership import FALSE_ALARMS
    from tasks.models.audit import membership

    seed = settings.seeds[0]
    published: dict[str, PrivateConfig | None] = {
        "Item biases, which every layout publishes, name": None
    }
    for epsilon in settings.epsilons:
        what = f"Those of the domain as a private target at epsilon {epsilon:g} name"
        published[what] = PrivateConfig(epsilon, settings.delta, settings.scale, seed)
    for what, private in published.items():
        attack = membership(settings.open_store(), domain, settings.scale, seed, private)
        yield (
            f"{what} {attack.named:.0%} of synthetic users that were trained on, with "
            f"{FALSE_ALARMS:.0%} false alarms (AUC {attack.auc:.3f})."
        )
