"""The settings of a domain of factors; no torch here, so that reading them costs no time."""

from dataclasses import dataclass, field
from typing import Literal

from metaem_core.config.checks import require_positive
from metaem_core.data.ratings import RatingScale

Base = Literal["mf", "gmf", "dnn", "fcf"]  # fcf is mf, trained by devices


@dataclass(frozen=True)
class FactorConfig:
    """Independent pretraining of one domain, or of two as one (CMF)."""

    base: Base = "mf"
    size: int = 10  # k
    batch_size: int = 256  # ratings a step; fcf: devices a round
    learning_rate: float = 3e-3
    l2: float = 1.5e-3  # of the rows a step touches
    damping: float = 1.0  # fcf: lambda of a device's own ridge
    init_std: float = 0.01
    epochs: int = 40
    patience: int = 4  # epochs without a better validation RMSE before stopping
    holdout: float = 0.05  # share of ratings kept out to stop by; 0: all epochs, all ratings
    centred: bool = True  # rate relative to mean, item bias and user bias
    scale: RatingScale = field(default_factory=RatingScale)
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, zero=("l2", "patience", "holdout", "seed"))
        if self.holdout >= 1:
            raise ValueError(f"holdout must be less than 1, got {self.holdout!r}")
