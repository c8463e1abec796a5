"""Stage 2: the mapping of user vectors from source to target (Algorithm 2)."""

from dataclasses import asdict, dataclass

from metaem_core.config.mapping import MappingConfig
from tasks.models.data import read_pair
from tasks.models.method_id import MethodId, write_method
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage


@dataclass(frozen=True)
class MappingRequest:
    """How f_theta is trained, and which row of the tables it is for."""

    method: MethodId
    config: MappingConfig

    def identity(self) -> dict[str, object]:
        """The settings by their own names."""
        return {**asdict(self.config), "method": asdict(self.method)}


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

    from metaem_core.methods.metaem.mapping import MappingTraining
    from tasks.models.metaem import read_model, read_user_vectors, write_mapping
    from tasks.models.train import forget, train_best, write_curve, write_traffic

    config, known = request.config, read_pair(store, source, target, split)
    pair, roles, validation = known.pair, known.roles, known.held_out(known.roles.validation)
    vectors, model = read_user_vectors(store, source_model), read_model(store, target_model)
    rates = config.learning_rates
    tried = [MappingTraining(config, r, vectors, model, pair, validation) for r in rates]
    work = tried[train_best(store, [t.training for t in tried], rates)]
    mapped = work.map_users(torch.from_numpy(known.source.users(roles.shared)))
    with store.draft() as draft:
        write_mapping(draft, work.mapping(), roles.shared, mapped)
        write_method(draft, request.method)
        write_curve(draft, work.training.curve())
        write_traffic(draft, [t.training for t in tried], *work.traffic())
    forget(store)
    return draft.ref
