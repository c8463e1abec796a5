"""Stage 1: federated pretraining of one domain (Algorithm 1)."""

from dataclasses import asdict, dataclass, field

from metaem_core.config.pretrain import PretrainConfig
from tasks.models.backend import Backend, Side, Simulation
from tasks.models.data import read_domain, training_ratings
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage


@dataclass(frozen=True)
class PretrainRequest:
    """How a domain is trained, and on which devices."""

    config: PretrainConfig
    backend: Backend = field(default_factory=Simulation)

    def identity(self) -> dict[str, object]:
        """The settings by their own names, and what of the backend matters."""
        return {**asdict(self.config), **self.backend.identity()}


@stage("pretrain")
def pretrain(
    store: Store, request: PretrainRequest, domain: ArtifactRef, split: ArtifactRef | None
) -> ArtifactRef:
    """Train a domain; ``split`` removes the held-out users' ratings from a target domain."""
    # torch is imported only by runs that train
    from metaem_core.methods.metaem.pretraining import Pretraining
    from tasks.models.metaem import write_model
    from tasks.models.train import forget, write_cost, write_curve

    data = read_domain(store, domain)
    work = Pretraining(request.config, training_ratings(store, data, split))
    side: Side = "source" if split is None else "target"
    cost = request.backend.pretrain(store, work, domain, side)
    with store.draft() as draft:
        write_model(draft, work.model(), data)
        write_curve(draft, work.training.curve())
        write_cost(draft, cost)
    forget(store)
    return draft.ref
