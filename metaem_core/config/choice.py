"""The settings of the model of choice; no torch here, so that reading them costs no time."""

from dataclasses import dataclass
from typing import Literal

from metaem_core.config.checks import require_positive


@dataclass(frozen=True)
class ChoiceConfig:
    """Pretraining of one domain on what its users chose."""

    size: int = 32  # k
    epochs: int = 16  # sweeps over all devices
    unobserved: float = 0.2  # alpha_0: weight of the items that a user did not choose
    l2: float = 0.01  # lambda, scaled by how often a user or an item appears
    cohort_size: int = 1024  # devices a round; their sums add up over an epoch
    payload: Literal["rows", "secure"] = "rows"  # what a server reads: each upload, or sums alone
    threshold: float | None = None  # the fewest stars of a choice; None: any rating is one
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, zero=("seed", "threshold"))


@dataclass(frozen=True)
class ChoiceMappingConfig:
    """The mapping of choices between two domains; of several values, validation selects one."""

    sizes: tuple[int, ...] = (8, 16, 32)  # leading directions, each with a mapping of its own
    damping: tuple[float, ...] = (3.0, 10.0, 30.0, 100.0)  # of user vectors, % of the overlap
    residual_damping: tuple[float, ...] = (300.0, 1000.0, 3000.0, 10000.0)  # of item scores
    selection_users: int = 1000  # at most so many users select
    length: int = 10  # of the lists whose NDCG selects
    seed: int = 0  # of the draw of these users

    def __post_init__(self) -> None:
        require_positive(self, zero=("seed",))
        for name in ("sizes", "damping", "residual_damping"):
            if not (values := getattr(self, name)) or min(values) <= 0:
                raise ValueError(f"{name} needs positive values, got {values!r}")
