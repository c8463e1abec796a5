"""The settings of the model of choice; no torch here, so that reading them costs no time."""

from dataclasses import dataclass
from typing import Literal

from metaem_core.config.checks import require_positive


@dataclass(frozen=True)
class ChoiceConfig:
    """Pretraining of one domain on what its users chose."""

    size: int = 32  # k
    epochs: int = 12  # sweeps over all devices, each one sum over them
    unobserved: float = 0.1  # alpha_0: weight of the items that a user did not choose
    l2: float = 0.003  # lambda, scaled by how often a user or an item appears
    leading: int = 64  # p: leading directions of the choices, which a mapping from here reads
    payload: Literal["rows", "secure"] = "rows"  # what a server reads: each upload, or sums alone
    threshold: float | None = None  # the fewest stars of a choice; None: any rating is one
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, zero=("seed", "threshold", "leading"))


@dataclass(frozen=True)
class ChoiceMappingConfig:
    """The mapping of choices between two domains."""

    sizes: tuple[int, ...] = (8, 16, 32)  # strongest directions, each with a mapping of its own
    damping: float = 10.0  # of user vectors, % of the overlap
    leading_damping: float = 1.0  # of leading directions, in users
    weight: float = 1.5  # of the scores by leading directions, those by vectors weighing 1 ...
    half_weight: float = 500.0  # ... times n / (n + half_weight) for n users of the overlap

    def __post_init__(self) -> None:
        require_positive(self, zero=("weight", "half_weight"))
        if not self.sizes or min(self.sizes) <= 0:
            raise ValueError(f"sizes needs positive values, got {self.sizes!r}")


@dataclass(frozen=True)
class UserKnnConfig:
    """User kNN across domains."""

    neighbours: int = 30  # most similar users of the training overlap
    damping: float = 0.0  # added to the cosine's denominator
    prior: float = 10.0  # weight of popularity: so many neighbours of similarity 1

    def __post_init__(self) -> None:
        require_positive(self, zero=("damping", "prior"))


@dataclass(frozen=True)
class ItemKnnConfig:
    """Item kNN on the joint matrix."""

    neighbours: int = 100  # most similar target items of a source item
    damping: float = 1000.0  # added to the cosine's denominator
    prior: float = 1.0  # weight of popularity: so many neighbours of similarity 1

    def __post_init__(self) -> None:
        require_positive(self, zero=("damping", "prior"))


@dataclass(frozen=True)
class EaseConfig:
    """EASE^R on the joint matrix."""

    l2: float = 5000.0  # lambda
    most_items: int = 16_000  # of both domains: their Gram matrix takes 1 GiB

    def __post_init__(self) -> None:
        require_positive(self, zero=())


@dataclass(frozen=True)
class IalsConfig:
    """Alternating least squares on implicit feedback."""

    size: int = 32  # k
    epochs: int = 12  # sweeps over users and items
    unobserved: float = 0.1  # alpha_0
    l2: float = 0.03  # lambda, scaled by how often a user or an item appears
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, zero=("seed",))


@dataclass(frozen=True)
class DomainIalsConfig(IalsConfig):
    """The same within one domain."""

    size: int = 16
    l2: float = 0.003


@dataclass(frozen=True)
class EmcdrIalsConfig:
    """Alternating least squares in each domain, and a ridge between the vectors."""

    factors: DomainIalsConfig = DomainIalsConfig()
    damping: float = 10.0  # of a feature, in per cent of the overlap's users

    def __post_init__(self) -> None:
        require_positive(self, zero=())


@dataclass(frozen=True)
class ChoiceBlendConfig:
    """What the blend adds to EMCDR on iALS: two ridges to the overlap's choices."""

    low_rank_damping: float = 100.0
    kernel_damping: float = 3.0
    most_users: int = 16_000  # of the training overlap: their kernel takes 1 GiB

    def __post_init__(self) -> None:
        require_positive(self, zero=())


@dataclass(frozen=True)
class ChoiceBaselinesConfig:
    """The baselines that lists are compared with; benchmarks/choice_tuning.py chose the values."""

    user_knn: UserKnnConfig = UserKnnConfig()
    item_knn: ItemKnnConfig = ItemKnnConfig()
    ease: EaseConfig = EaseConfig()
    ials: IalsConfig = IalsConfig()
    emcdr_ials: EmcdrIalsConfig = EmcdrIalsConfig()
    blend: ChoiceBlendConfig = ChoiceBlendConfig()
