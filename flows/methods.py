"""Which methods a run scores, and their names in its tables."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Literal

from flows.profiles import compared
from flows.settings import ProfileName, Settings
from metaem_core.config.factor import Base
from metaem_core.config.mapping import MappingConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.config.transfer import Method
from metaem_core.methods.baselines.trivial import TRIVIAL
from tasks.models.method_id import private_name


def scored(settings: Settings) -> list[str]:
    """Every method of the run's tables."""
    others = [named(*each) for each in rivals(settings)]
    ours = [settings.pretrain, *(stage_1 for stage_1, _ in other_metaems(settings))]
    private = map(private_name, settings.epsilons)
    return [*TRIVIAL, *others, *map(metaem_named, ours), *private]


def rivals(settings: Settings) -> Iterator[tuple[Method, Base, ProfileName]]:
    """The centralised methods."""
    # where the run itself is as printed, its settings hold no calibrated values
    profiles = ("paper",) if settings.profile == "paper" else settings.compared
    for profile, base, method in product(profiles, settings.bases, settings.methods):
        yield method, base, profile


def other_metaems(settings: Settings) -> Iterator[tuple[PretrainConfig, MappingConfig]]:
    """MetaEM on plain MF or GMF and as printed, where it is compared with others so."""
    if not settings.methods:
        return
    linear: tuple[Literal["mf", "gmf"], ...] = ("mf", "gmf")
    for base in linear:  # Figure 3
        if (
            base in settings.bases
            and {*settings.bases} != {"mf"}
            and base != settings.pretrain.base
        ):
            yield replace(settings.pretrain, base=base), settings.mapping
    if "paper" in settings.compared and settings.profile != "paper":
        yield (
            compared(settings.pretrain, settings.profile, "paper", "pretrain"),
            compared(settings.mapping, settings.profile, "paper", "mapping"),
        )


def named(method: str, base: str, profile: str) -> str:
    """A method's name in tables: base model and profile are told where they are not the default."""
    parts = [method, *([base] if base != "mf" else []), *([profile] if profile == "paper" else [])]
    return "-".join(parts)


def metaem_named(config: PretrainConfig) -> str:
    """MetaEM's name in tables, as scoring reads it from the trained parts."""
    base = "" if config.base == "dnn" else f"-{config.base}"
    return f"metaem{base}" if config.centred else f"metaem{base}-paper"
