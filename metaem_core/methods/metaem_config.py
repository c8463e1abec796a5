"""The settings of MetaEM's two stages; they import no torch, so that asking costs no time."""

from dataclasses import dataclass, field
from typing import Literal

from metaem_core.ratings import RatingScale


@dataclass(frozen=True)
class PretrainConfig:
    """Stage 1, one domain (Algorithm 1)."""

    common_size: int = 32  # k_c, also k_u
    private_size: int = 8  # k_p
    hidden_size: int = 128
    cohort_size: int = 256  # |S|
    learning_rate: float = 3e-6  # of the networks
    l2: float = 1e-6  # lambda of Eq. 10, networks
    table_learning_rate: float = 1.0  # of U and V^c
    table_l2: float = 1.5  # lambda of Eq. 10, rows of U and V^c
    init_std: float = 0.1  # of U and V^c
    epochs: int = 30
    patience: int = 8
    holdout: float = 0.05  # share of ratings kept out of training to stop by
    centred: bool = True  # rate relative to mean + item bias
    relu_last: bool = False  # Eqs. 4-6 as printed: True
    meta_reads_raw: bool = False  # Eq. 3 as printed: True
    tables: Literal["newton", "lazy", "dense"] = "newton"  # lazy and dense are Adam
    item_tower: Literal["shared", "personal"] = "shared"
    scale: RatingScale = field(default_factory=RatingScale)
    seed: int = 0

    def __post_init__(self) -> None:
        _require_positive(self)
        if not 0 < self.holdout < 1:
            raise ValueError(f"holdout must lie strictly between 0 and 1, got {self.holdout!r}")


@dataclass(frozen=True)
class MappingConfig:
    """Stage 2 (Algorithm 2)."""

    hidden_size: int = 128
    cohort_size: int = 256
    learning_rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3)  # the validation users choose one
    l2: float = 1e-4
    epochs: int = 100
    patience: int = 15
    taste_damping: float = 100.0  # ridge of the first guess of taste; centred domains only
    trust: float = 0.5  # share kept of what was learnt beyond bias transfer; centred domains only
    loss: Literal["task", "distance"] = "task"  # Eq. 14, or Eq. 12 with the target's MLP_user
    scale: RatingScale = field(default_factory=RatingScale)
    seed: int = 0

    def __post_init__(self) -> None:
        _require_positive(self)
        if not 0 <= self.trust <= 1:
            raise ValueError(f"trust must lie between 0 and 1, got {self.trust!r}")
        if not self.learning_rates or min(self.learning_rates) <= 0:
            raise ValueError(f"learning_rates must be positive, got {self.learning_rates!r}")


def _require_positive(config: PretrainConfig | MappingConfig) -> None:
    for name, value in vars(config).items():
        if name in ("l2", "table_l2", "seed"):
            wrong = value < 0
        else:
            wrong = isinstance(value, int | float) and not isinstance(value, bool) and value <= 0
        if wrong and name != "trust":
            raise ValueError(f"{name} is too small: {value!r}")
