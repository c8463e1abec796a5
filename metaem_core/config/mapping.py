"""The settings of stage 2; no torch here, so that reading them costs no time."""

from dataclasses import dataclass, field
from typing import Literal

from metaem_core.config.checks import require_positive
from metaem_core.data.ratings import RatingScale


@dataclass(frozen=True)
class MappingConfig:
    """Stage 2 (Algorithm 2)."""

    hidden_size: int = 128
    cohort_size: int = 256
    learning_rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3)  # the validation users choose one
    l2: float = 1e-4
    epochs: int = 100
    patience: int = 15
    trust: float = 0.5  # share of the learnt correction that is kept; centred only
    loss: Literal["task", "distance"] = "task"  # Eq. 14, or Eq. 12 with the target's MLP_user
    scale: RatingScale = field(default_factory=RatingScale)
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, zero=("l2", "seed", "trust"))
        if not 0 <= self.trust <= 1:
            raise ValueError(f"trust must lie between 0 and 1, got {self.trust!r}")
        if not self.learning_rates or min(self.learning_rates) <= 0:
            raise ValueError(f"learning_rates must be positive, got {self.learning_rates!r}")
