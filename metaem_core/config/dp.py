"""The settings of bias transfer under differential privacy; no torch here."""

from dataclasses import dataclass, field

from metaem_core.data.ratings import RatingScale


@dataclass(frozen=True)
class PrivateConfig:
    """Privacy budget of one run for one user, over all their ratings in both domains."""

    epsilon: float  # inf: the same sums without noise
    delta: float
    scale: RatingScale = field(default_factory=RatingScale)
    seed: int = 0  # of the noise

    def __post_init__(self) -> None:
        if not self.epsilon > 0:
            raise ValueError(f"epsilon must be positive, got {self.epsilon!r}")
        if not 0 < self.delta < 1:
            raise ValueError(f"delta must lie strictly between 0 and 1, got {self.delta!r}")
