"""The settings of stage 1; no torch here, so that reading them costs no time."""

from dataclasses import dataclass, field
from typing import Literal

from metaem_core.config.checks import require_positive
from metaem_core.data.ratings import RatingScale

OpenLayout = Literal["literal", "product", "rows"]  # the server reads each upload
Layout = OpenLayout | Literal["secure"]  # the server reads sums alone


@dataclass(frozen=True)
class PretrainConfig:
    """Stage 1, one domain (Algorithm 1)."""

    user_size: int = 32  # k_u
    common_size: int = 32  # k_c
    private_size: int = 8  # k_p
    hidden_size: int = 128
    cohort_size: int = 1024  # |S|
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
    tables: Literal["newton", "lazy"] = "newton"  # lazy: Adam on the touched rows
    item_tower: Literal["shared", "personal"] = "shared"
    base: Literal["mf", "gmf", "dnn"] = "dnn"  # towers of one layer, weighed, or Eqs. 5 and 6
    clusters: int = 0  # of users, each with its share of a cohort (FedFast); 0: plain cohorts
    discount: float = 0.5  # of the step that a cluster's delegates pass on to its others
    pseudo_items: float = 0.0  # unrated items a device trains on, against its ratings (FedRec)
    payload: Layout = "product"  # of messages; rows: in eight bits; secure: sums
    scale: RatingScale = field(default_factory=RatingScale)
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, zero=("l2", "table_l2", "pseudo_items", "clusters", "seed"))
        if self.clusters > self.cohort_size:
            raise ValueError(
                f"clusters must not exceed cohort_size, of which each has its share: "
                f"{self.clusters!r} of {self.cohort_size!r}"
            )
        if self.payload in ("rows", "secure") and self.item_tower == "personal":
            raise ValueError(
                f"payload {self.payload} sends MLP_item's gradient: it goes with item_tower shared"
            )
        if self.payload == "secure" and self.cohort_size < 3:
            raise ValueError("payload secure hides a device among others: cohort_size 3 or more")
        if self.payload == "secure" and (self.clusters or self.tables != "newton"):
            raise ValueError("payload secure keeps users on devices: tables newton, clusters 0")
        if self.pseudo_items and (self.payload == "secure" or self.item_tower == "personal"):
            raise ValueError("pseudo_items go with item_tower shared and an open payload")
        if self.discount > 1:
            raise ValueError(f"discount must not exceed 1, got {self.discount!r}")
        if not 0 < self.holdout < 1:
            raise ValueError(f"holdout must lie strictly between 0 and 1, got {self.holdout!r}")
