"""``metaem privacy-audit``: what a curious server reads out of uploads."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import (
    Assignments,
    Config,
    From,
    Mirror,
    Offline,
    StoreFolder,
    Task,
    open_settings,
)
from flows.errors import plain_errors

if TYPE_CHECKING:
    from flows.settings import Settings
    from tasks.store.artifacts import ArtifactRef


def privacy_audit(
    context: typer.Context,
    devices: Annotated[int, typer.Option(min=3, help="How many devices to attack.")] = 200,
    task: Task = None,
    source: From = None,
    mirror: Mirror = None,
    offline: Offline = None,
    store: StoreFolder = None,
    config: Config = None,
    assignments: Assignments = None,
) -> None:
    """Attack the uploads of a pretrained source domain's devices, in every mode."""
    with plain_errors():
        settings = open_settings(context.params)
        one = {"betas": settings.betas[:1], "seeds": settings.seeds[:1]}
        settings = settings.model_copy(update=one)
        from flows.cli.display import shown, stdout
        from flows.cli.traffic_tables import audit_table
        from flows.cold_start import run
        from tasks.models.audit import audit

        domain, seed = settings.domains[0], settings.seeds[0]
        with shown():
            made = dict(run(settings, until="pretrain").made)
        refs = made[f"filter {domain}"], made[f"pretrain {domain} seed {seed}"]
        cohort = settings.pretrain.cohort_size
        found = audit(settings.open_store(), *refs, settings.scale, devices, cohort, seed)
        stdout().print(audit_table(domain, devices, found))
        for line in _memberships(settings, refs[0]):
            stdout().print(line)


def _memberships(settings: "Settings", domain: "ArtifactRef") -> Iterator[str]:
    """How many made-up users published item biases name, without privacy and by epsilon."""
    from metaem_core.config.dp import PrivateConfig
    from metaem_core.privacy.attacks.membership import FALSE_ALARMS
    from tasks.models.audit import membership

    seed = settings.seeds[0]
    published: dict[str, PrivateConfig | None] = {
        "Item biases, which every mode publishes, name": None
    }
    for epsilon in settings.epsilons:
        what = f"Those of the domain as a private target at epsilon {epsilon:g} name"
        published[what] = PrivateConfig(epsilon, settings.delta, settings.scale, seed)
    for what, private in published.items():
        told = membership(settings.open_store(), domain, settings.scale, seed, private)
        yield (
            f"{what} {told.found:.0%} of made-up users that were trained on, with "
            f"{FALSE_ALARMS:.0%} false alarms (AUC {told.auc:.3f})."
        )
