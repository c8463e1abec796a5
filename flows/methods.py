"""Which methods a run scores."""

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
from tasks.models.method_id import MethodId, bias_transfer_dp, metaem_id
from tasks.stages.baseline import BaselineRequest


def scored(settings: Settings) -> list[MethodId]:
    """Every method of the run's tables."""
    others = [MethodId(*each) for each in baseline_variants(settings)]
    ours = [settings.pretrain, *(stage_1 for stage_1, _ in other_metaems(settings))]
    private = map(bias_transfer_dp, settings.epsilons)
    return [*map(MethodId, TRIVIAL), *others, *map(metaem_id, ours), *private]


def baselines(settings: Settings, seed: int) -> Iterator[BaselineRequest]:
    """The centralised methods, each with the settings of its profile."""
    own = settings.profile
    for method, base, profile in baseline_variants(settings):
        factors = replace(compared(settings.factors, own, profile, "factors"), base=base)
        config = compared(settings.transfer, own, profile, "transfer")
        config = replace(config, method=method, scale=settings.scale, seed=seed)
        yield BaselineRequest(MethodId(method, base, profile), config, factors)


def baseline_variants(settings: Settings) -> Iterator[tuple[Method, Base, ProfileName]]:
    """The centralised methods: each on every base model, in every profile that is compared."""
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
        other = base in settings.bases and base != settings.pretrain.base
        if other and {*settings.bases} != {"mf"}:
            yield replace(settings.pretrain, base=base), settings.mapping
    if "paper" in settings.compared and settings.profile != "paper":
        yield (
            compared(settings.pretrain, settings.profile, "paper", "pretrain"),
            compared(settings.mapping, settings.profile, "paper", "mapping"),
        )
