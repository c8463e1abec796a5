"""Methods' names in tables, taken apart, and as a reader knows them."""

import math
from dataclasses import dataclass
from typing import Literal

from metaem_core.methods.baselines.trivial import TRIVIAL

Profile = Literal["", "calibrated", "private", "paper"]  # trivial predictors have none

LABELS = {
    "global_mean": "global mean",
    "item_mean": "item mean",
    "source_user_mean": "user's source mean",
    "bias_transfer": "bias transfer",
    "bias_transfer_fitted": "fitted bias transfer",
    "user_knn": "user kNN",
    "metaem": "MetaEM",
}


PRIVATE = "metaem_dp"  # and epsilon


@dataclass(frozen=True)
class Named:
    """``<method>[-<base>][-paper]``."""

    name: str  # as tables have it
    method: str
    base: str  # mf, fcf, gmf, dnn; none for trivial predictors and for MetaEM's own
    profile: Profile

    @property
    def label(self) -> str:
        """Without the profile: the two are never shown in one table."""
        if self.method.startswith(PRIVATE):
            return f"MetaEM, ε {self.method.removeprefix(PRIVATE).replace('inf', '∞')}"
        told = LABELS.get(self.method, self.method.replace("_", " ").upper())
        usual = "" if self.method == "metaem" else "mf"
        return f"{told} ({self.base.upper()})" if self.base not in ("", usual) else told

    @property
    def is_trivial(self) -> bool:
        return not self.profile

    @property
    def is_metaem(self) -> bool:
        """With its own towers; on other base models it is one of the others."""
        return self.method == "metaem" and not self.base


def private_name(epsilon: float | None) -> str:
    """MetaEM under differential privacy; None: its sums without noise."""
    return f"{PRIVATE}{math.inf if epsilon is None else epsilon:g}"


def parse(name: str) -> Named:
    """A name as the run gave it."""
    if name in TRIVIAL:
        return Named(name, name, "", "")
    if name.startswith(PRIVATE):
        return Named(name, name, "", "private")
    rest = name.removesuffix("-paper")
    profile: Profile = "calibrated" if rest == name else "paper"
    method, _, base = rest.partition("-")
    return Named(name, method, base or ("" if method == "metaem" else "mf"), profile)
