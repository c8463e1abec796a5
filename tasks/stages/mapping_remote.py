"""Stage 2 on real devices: each carries its source vector to the target's rounds by itself."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from metaem_core.config.mapping import MappingConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.bias import fitted_biases
from tasks.flower.assign import require_dealt
from tasks.flower.submit import hand_out, write_job_traffic
from tasks.models.data import read_pair
from tasks.models.method_id import MethodId, write_method
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage

if TYPE_CHECKING:
    from metaem_core.methods.metaem.mapping import MappingTraining
    from metaem_core.models.mlp import Parameters
    from tasks.flower.job import Done, Job


@dataclass(frozen=True)
class RemoteMappingConfig:
    """What is trained, and on which devices."""

    method: MethodId
    mapping: MappingConfig
    pretrain: PretrainConfig  # of both domains
    source: str
    domain: str  # the target
    dealt: str  # digest of who has a device


@stage("mapping")
def mapping_remote(
    store: Store,
    config: RemoteMappingConfig,
    source_model: ArtifactRef,
    target_model: ArtifactRef,
    source: ArtifactRef,
    target: ArtifactRef,
    split: ArtifactRef,
) -> ArtifactRef:
    """Learn f_theta on the devices of training users, stopped by those of validation users."""
    # torch is imported only by runs that train
    import torch

    from metaem_core.methods.metaem.mapping import MappingTraining, start_views
    from tasks.flower.job import mapping_start, vectors_tag, views_start
    from tasks.flower.node import Asked
    from tasks.models.metaem import read_model, read_user_vectors, write_mapping
    from tasks.models.train import forget, write_curve

    require_dealt(store.root, config.domain, target)
    known = read_pair(store, source, target, split)
    pair, roles, validation = known.pair, known.roles, known.held_out(known.roles.validation)
    vectors, model = read_user_vectors(store, source_model), read_model(store, target_model)
    asked = Asked(
        kind="start",
        domain=config.domain,
        config=json.dumps({"pretrain": asdict(config.pretrain), "mapping": asdict(config.mapping)}),
        source=config.source,
        tag=vectors_tag(vectors),
    )
    train, stop = (known.target.users(ids) for ids in (roles.train, roles.validation))
    start: Parameters | None = None
    if config.pretrain.centred:
        views = start_views(fitted_biases(pair.target), vectors, model, pair)
        parts = views_start(*views, torch.from_numpy(train))
        start = hand_out(store, "start", asked, parts).found()
    told = vectors, model, pair, validation, start
    tried = [MappingTraining(config.mapping, r, *told) for r in config.mapping.learning_rates]
    asked["kind"] = "mapping"
    begin = mapping_start(tried[0], torch.from_numpy(train), torch.from_numpy(stop))
    work, done = _best(hand_out(store, "job", asked, begin), tried)
    mapped = work.map_users(torch.from_numpy(known.source.users(roles.shared)))
    with store.draft() as draft:
        write_mapping(draft, work.mapping(), roles.shared, mapped)
        write_method(draft, config.method)
        write_curve(draft, work.training.curve())
        write_job_traffic(draft, done, config.mapping.cohort_size)
    forget(store)
    return draft.ref


def _best(job: "Job", tried: "list[MappingTraining]") -> "tuple[MappingTraining, Done]":
    """What the job made of the learning rate that validation users prefer."""
    trainings = [each.training for each in tried]
    job.load_into(*trainings)
    done = job.done
    assert done is not None, "hand_out waits until it is done"
    ended = [n for n, epochs in enumerate(done["epochs"]) if epochs is not None]
    return tried[min(ended, key=lambda n: trainings[n].best_rmse)], done
