"""The settings of a baseline that transfers users; no torch here."""

from dataclasses import dataclass, field
from typing import Literal

from metaem_core.config.checks import require_positive
from metaem_core.data.ratings import RatingScale

Method = Literal["tgt", "cmf", "dcdcsr", "sscdr", "emcdr", "ptupcdr", "tmcdr"]


@dataclass(frozen=True)
class TransferConfig:
    """How one of the methods of Table 3 is trained on the overlap."""

    method: Method = "emcdr"
    batch_size: int = 64  # users or ratings a step
    learning_rate: float = 1e-3
    l2: float = 1e-4
    epochs: int = 300
    patience: int = 10  # epochs without a better validation RMSE before stopping; 0: all epochs
    scale: RatingScale = field(default_factory=RatingScale)
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, zero=("l2", "patience", "seed"))
