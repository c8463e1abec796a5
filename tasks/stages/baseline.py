"""Stage 2 of the centralised methods: from source users to rating them in the target."""

from dataclasses import asdict, dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from metaem_core.config.factor import FactorConfig
from metaem_core.config.transfer import TransferConfig
from tasks.models.data import read_pair
from tasks.models.method_id import MethodId, write_method
from tasks.progress import advance
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.source_digest import code_digest, load
from tasks.store.stage import stage

if TYPE_CHECKING:
    from metaem_core.methods.transfer_problem import Fit
    from metaem_core.training.epochs import EpochStats


@dataclass(frozen=True)
class BaselineRequest:
    """Which method is trained, and how its domains were."""

    method: MethodId
    config: TransferConfig
    factors: FactorConfig

    def identity(self) -> dict[str, object]:
        """The settings, and the code of this one method: editing another leaves the result be."""
        return {**asdict(self), "code": code_digest(_module(self.config.method))}


@stage("baseline")
def baseline(
    store: Store,
    request: BaselineRequest,
    source_model: ArtifactRef,
    target_model: ArtifactRef,
    source: ArtifactRef,
    target: ArtifactRef,
    split: ArtifactRef,
) -> ArtifactRef:
    """Fit a method on the training overlap; validation users may stop it."""
    from metaem_core.methods.transfer_problem import Problem
    from tasks.models.factors import read_domain_model, write_cold
    from tasks.models.train import write_curve

    config = request.config
    data = read_pair(store, source, target, split)
    problem = Problem(
        data.pair,
        data.held_out(data.roles.validation),
        read_domain_model(store, source_model),
        read_domain_model(store, target_model),
        request.factors,
    )

    curve: list[EpochStats] = []

    def on_epoch(stats: "EpochStats") -> None:
        curve.append(stats)
        note = f"validation RMSE {stats.validation_rmse:.4f}"
        advance(stats.epoch, config.epochs, note=note)

    cold = method(config.method)(problem, config, on_epoch)
    shared = data.roles.shared
    with store.draft() as draft:
        write_cold(draft, cold, shared, data.source.users(shared), data.target)
        write_method(draft, request.method)
        write_curve(draft, curve)
    return draft.ref


def method(name: str) -> "Fit":
    """The method's function: ``metaem_core.methods.baselines.<name>.<name>``."""
    load(_module(name))
    return cast("Fit", getattr(import_module(_module(name)), name))


def _module(name: str) -> str:
    return f"metaem_core.methods.baselines.{name}"
