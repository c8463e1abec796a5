"""Stage 2: the mapping of user vectors from source to target (Algorithm 2)."""

from dataclasses import asdict, dataclass, field

from metaem_core.config.mapping import MappingConfig
from tasks.models.backend import Backend, MappingProblem, Simulation
from tasks.models.data import read_pair
from tasks.models.method_id import MethodId, write_method
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage


@dataclass(frozen=True)
class MappingRequest:
    """How f_theta is trained, on which devices, and for which row of the tables."""

    method: MethodId
    config: MappingConfig
    backend: Backend = field(default_factory=Simulation)

    def identity(self) -> dict[str, object]:
        """The settings by their own names, and what of the backend matters."""
        method = {"method": asdict(self.method)}
        return {**asdict(self.config), **method, **self.backend.identity()}


@stage("mapping")
def mapping(
    store: Store,
    request: MappingRequest,
    source_model: ArtifactRef,
    target_model: ArtifactRef,
    source: ArtifactRef,
    target: ArtifactRef,
    split: ArtifactRef,
) -> ArtifactRef:
    """Learn f_theta on the training overlap, stopped by the validation users."""
    # torch is imported only by runs that train
    import torch

    from tasks.models.metaem import read_model, read_user_vectors, write_mapping
    from tasks.models.train import forget, write_cost, write_curve

    data = read_pair(store, source, target, split)
    models = read_user_vectors(store, source_model), read_model(store, target_model)
    problem = MappingProblem(request.config, *models, data)
    work, cost = request.backend.map_users(store, problem, target)
    shared = data.roles.shared
    mapped = work.map_users(torch.from_numpy(data.source.users(shared)))
    with store.draft() as draft:
        write_mapping(draft, work.mapping(), shared, mapped)
        write_method(draft, request.method)
        write_curve(draft, work.training.curve())
        write_cost(draft, cost)
    forget(store)
    return draft.ref
