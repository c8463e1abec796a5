"""Stage 1 of choice: federated pretraining of one domain on what its users chose."""

from dataclasses import asdict, dataclass, field

from metaem_core.config.choice import ChoiceConfig
from tasks.models.backend import Backend, Side, Simulation
from tasks.models.data import read_domain, training_ratings
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage


@dataclass(frozen=True)
class ChoicePretrainRequest:
    """How a domain is trained, and on which devices."""

    config: ChoiceConfig
    backend: Backend = field(default_factory=Simulation)

    def identity(self) -> dict[str, object]:
        """The settings by their own names, and what of the backend matters."""
        return {**asdict(self.config), **self.backend.identity()}


@stage("choice_pretrain")
def choice_pretrain(
    store: Store, request: ChoicePretrainRequest, domain: ArtifactRef, split: ArtifactRef | None
) -> ArtifactRef:
    """Train a domain; ``split`` removes the held-out users' choices from a target domain."""
    # torch is imported only by runs that train
    from metaem_core.data.choices import Choices
    from metaem_core.methods.metaem.choice_pretraining import ChoicePretraining
    from tasks.models.choice import write_choice_domain
    from tasks.models.train import forget, write_cost, write_curve

    data = read_domain(store, domain)
    choices = Choices.of(training_ratings(store, data, split), request.config.threshold)
    work = ChoicePretraining(request.config, choices)
    side: Side = "source" if split is None else "target"
    cost = request.backend.pretrain_choices(store, work, domain, side)
    with store.draft() as draft:
        write_choice_domain(draft, work.model(), data.item_ids)
        write_curve(draft, work.training.curve())
        write_cost(draft, cost)
    forget(store)
    return draft.ref
