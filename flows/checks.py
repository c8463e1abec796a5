"""What can be known to fail before anything is started."""

from flows.methods import scored
from flows.settings import EVERY, Settings
from flows.steps import OF_STARS, STEPS
from tasks.flower.assign import partition_digest
from tasks.stages.download import DownloadRequest


def check(settings: Settings, *stages: str) -> None:
    """Raise ValueError for an unknown stage or reference, a source or a store out of reach."""
    for name in stages:
        if name not in STEPS:
            raise ValueError(f"no stage {name!r}: use one of {', '.join(STEPS)}")
    if settings.without_stars:
        _require_no_stars(settings, stages)
    if settings.methods and settings.profile != "paper":
        for name in ("pretrain", "factors"):
            if not getattr(settings, name).centred:
                raise ValueError(f"{name}.centred=false is the profile 'paper': use that instead")
    reference, known = settings.report.reference, [each.name for each in scored(settings)]
    if reference not in known:
        raise ValueError(f"report.reference={reference!r} is not scored: use {', '.join(known)}")
    if (largest := max(settings.choice_mapping.sizes)) > settings.choice.size:
        raise ValueError(
            f"choice_mapping.sizes has {largest}, more than choice.size={settings.choice.size}: "
            "use sizes up to it"
        )
    for domain in {*settings.feedback} - {EVERY}:
        settings.chosen_source.location(domain)  # raises for a domain that it does not know
    for domain in settings.domains:
        DownloadRequest(domain, settings.chosen_source, settings.offline).check()
    if settings.backend == "flower":
        partition_digest(settings.store)
        config = settings.pretrain
        odd = config.item_tower == "personal" or config.clusters or config.pseudo_items
        if config.payload not in ("literal", "product") or odd:
            raise ValueError(
                "backend flower takes pretrain.payload literal or product, and neither clusters, "
                "pseudo_items nor a personal item_tower"
            )
        if settings.mapping.loss != "task":
            raise ValueError("backend flower takes mapping.loss task")
    try:
        settings.store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"no store can be at {str(settings.store)!r}: {error.strerror}") from error


def _require_no_stars(settings: Settings, stages: tuple[str, ...]) -> None:
    unrated = " and ".join(settings.without_stars)
    wanted = [f"stage {name}" for name in stages if name in OF_STARS]
    wanted += [f"setting {name}" for name in ("methods", "epsilons") if getattr(settings, name)]
    if wanted:
        raise ValueError(
            f"{wanted[0]} needs stars in both domains, but feedback=choices for {unrated}: "
            f"leave it out"
        )
