"""Stage 1 on real devices: the job is handed to a running federation, and its result taken in."""

import json
from dataclasses import asdict, dataclass

from metaem_core.config.pretrain import PretrainConfig
from tasks.flower.assign import require_dealt
from tasks.flower.submit import hand_out, write_job_traffic
from tasks.models.data import read_domain, training_ratings
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage


@dataclass(frozen=True)
class RemoteConfig:
    """What is trained, and on which devices."""

    pretrain: PretrainConfig
    domain: str
    dealt: str  # digest of who has a device


@stage("pretrain")
def pretrain_remote(
    store: Store, config: RemoteConfig, domain: ArtifactRef, split: ArtifactRef | None
) -> ArtifactRef:
    """Train a domain on the devices of the federation in the store's folder.

    Devices of a source keep what it made of their user, for the target's app.
    """
    import torch

    from metaem_core.methods.metaem.pretraining import Pretraining
    from tasks.flower.job import pretrain_start, vectors_tag
    from tasks.flower.node import Asked
    from tasks.models.metaem import write_model
    from tasks.models.train import forget, write_curve

    require_dealt(store.root, config.domain, domain)
    known = read_domain(store, domain)
    ratings = training_ratings(store, known, split)
    work = Pretraining(config.pretrain, ratings)
    plain = json.dumps(asdict(config.pretrain))
    asked = Asked(kind="pretrain", domain=config.domain, config=plain, source="", tag="")
    job = hand_out(store, "job", asked, pretrain_start(*work.start()))
    job.load_into(work.training)
    model = work.model()
    if split is None:
        with torch.no_grad():
            profiles = model.source_vectors(torch.arange(len(known.user_ids)))
        asked |= {"kind": "carry", "tag": vectors_tag(profiles)}
        hand_out(store, "carry", asked, {"profiles": profiles})
    done = job.done
    assert done is not None, "hand_out waits until it is done"
    assert done["epochs"] != [None], "a pretraining that diverges fails"
    with store.draft() as draft:
        write_model(draft, model, known)
        write_curve(draft, work.training.curve())
        write_job_traffic(draft, done, config.pretrain.cohort_size)
    forget(store)
    return draft.ref
