"""Stage 2 of choice: the mapping from what users choose in the source to the target's items."""

from dataclasses import asdict, dataclass, field

from metaem_core.config.choice import ChoiceMappingConfig
from tasks.models.backend import Backend, ChoiceMappingProblem, Simulation
from tasks.models.data import read_pair
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage


@dataclass(frozen=True)
class ChoiceMappingRequest:
    """How the mapping is fitted, and which ratings of source and target are choices."""

    config: ChoiceMappingConfig = field(default_factory=ChoiceMappingConfig)
    thresholds: tuple[float | None, float | None] = (None, None)
    backend: Backend = field(default_factory=Simulation)

    def identity(self) -> dict[str, object]:
        """The settings by their own names, and what of the backend matters."""
        thresholds = {"thresholds": self.thresholds}
        return {**asdict(self.config), **thresholds, **self.backend.identity()}


@stage("choice_mapping")
def choice_mapping(
    store: Store,
    request: ChoiceMappingRequest,
    source_model: ArtifactRef,
    target_model: ArtifactRef,
    source: ArtifactRef,
    target: ArtifactRef,
    split: ArtifactRef,
) -> ArtifactRef:
    """Fit the mapping on the training overlap."""
    # torch is imported only by runs that train
    from tasks.models.choice import read_choice_domain, write_choice_model
    from tasks.models.evaluated_cell import VALIDATION
    from tasks.models.train import forget, write_cost

    data = read_pair(store, source, target, split)
    domains = read_choice_domain(store, source_model), read_choice_domain(store, target_model)
    problem = ChoiceMappingProblem(request.config, request.thresholds, *domains, data)
    mapped = request.backend.map_choices(store, problem, source, target)
    with store.draft() as draft:
        write_choice_model(draft, mapped.model, data.target.item_ids)
        draft.write_json(VALIDATION, {"ndcg": mapped.validation_ndcg})
        write_cost(draft, mapped.cost)
    forget(store)
    return draft.ref
