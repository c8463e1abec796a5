"""Which method a row of the tables is about: composed once, carried by every artifact."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import TypeAdapter

from metaem_core.config.factor import Base
from metaem_core.config.pretrain import PretrainConfig
from tasks.store.artifacts import ArtifactRef, Draft, Store

Profile = Literal["", "calibrated", "private", "paper"]  # trivial predictors have none

METHOD, METHODS = "method.json", "methods.json"  # of a trained method; of what compares several
LABELS = {
    "global_mean": "global mean",
    "item_mean": "item mean",
    "source_user_mean": "user's source mean",
    "bias_transfer": "bias transfer",
    "bias_transfer_fitted": "fitted bias transfer",
    "user_knn": "user kNN",
    "metaem": "MetaEM",
}
BY_CHOICE = {  # labels of methods that order items without predicting stars
    "metaem_choice": "MetaEM",
    "popularity": "popularity",
    "choice_user_knn": "user kNN",
    "choice_item_knn": "item kNN",
    "ease": "EASE^R",
    "ials": "iALS",
    "emcdr_ials": "EMCDR on iALS",
    "choice_blend": "blend of three",
}
METAEM = ("metaem", "metaem_choice")  # by stars, and by choice
LISTED_BY = {"metaem": "metaem_choice", "user_knn": "choice_user_knn"}  # the halves of one method


@dataclass(frozen=True)
class MethodId:
    """A method on a base model, in a profile, with or without differential privacy."""

    method: str
    base: Base | Literal[""] = ""  # none for trivial predictors and for MetaEM's own towers
    profile: Profile = ""
    epsilon: float | None = None  # of differential privacy; inf: the same sums without noise

    @property
    def name(self) -> str:
        """As tables have it: ``<method>[_dp<epsilon>][-<base>][-paper]``."""
        private = "" if self.epsilon is None else f"_dp{self.epsilon:g}"
        paper = "paper" if self.profile == "paper" else ""
        return "-".join(filter(None, (f"{self.method}{private}", self._unusual_base, paper)))

    @property
    def title(self) -> str:
        """The method alone, as readers know it."""
        return (LABELS | BY_CHOICE).get(self.method, self.method.replace("_", " ").upper())

    @property
    def label(self) -> str:
        """Without the profile: the two are never shown in one table."""
        if self.epsilon is not None:
            return f"{self.title}, DP ε {f'{self.epsilon:g}'.replace('inf', '∞')}"
        base = self._unusual_base.upper()
        return f"{self.title} ({base})" if base else self.title

    @property
    def cited(self) -> str:
        """The label where profiles are mixed."""
        return f"{self.label} as published" if self.profile == "paper" else self.label

    @property
    def is_trivial(self) -> bool:
        return not self.profile

    @property
    def is_metaem(self) -> bool:
        """By choice, or with its own towers; on other base models it is one of the others."""
        return self.method in METAEM and not self.base

    @property
    def is_by_choice(self) -> bool:
        return self.method in BY_CHOICE

    @property
    def _unusual_base(self) -> str:
        return "" if self.base == ("" if self.method == "metaem" else "mf") else self.base


def metaem_id(config: PretrainConfig) -> MethodId:
    """MetaEM between domains that were pretrained so."""
    base = config.base if config.base != "dnn" else ""
    return MethodId("metaem", base, "calibrated" if config.centred else "paper")


def bias_transfer_dp(epsilon: float) -> MethodId:
    """Bias transfer under differential privacy."""
    return MethodId("bias_transfer", profile="private", epsilon=epsilon)


def write_method(draft: Draft, method: MethodId) -> None:
    """What the artifact of a trained method is about."""
    draft.write_json(METHOD, asdict(method))


def read_method(store: Store, ref: ArtifactRef) -> MethodId:
    """Of a mapping, dp_transfer or baseline artifact."""
    return TypeAdapter(MethodId).validate_python(store.read_json(ref, METHOD))


def write_methods(draft: Draft, methods: Iterable[MethodId]) -> None:
    """What the rows of an artifact's tables are about."""
    draft.write_json(METHODS, [asdict(method) for method in methods])


def read_methods(store: Store, refs: Iterable[ArtifactRef]) -> dict[str, MethodId]:
    """By name, the methods in the tables of evaluations and pictures."""
    rows = TypeAdapter(list[MethodId])
    read = [rows.validate_python(store.read_json(ref, METHODS)) for ref in refs]
    return {method.name: method for methods in read for method in methods}
