"""Stage 1: federated pretraining of one domain (Algorithm 1)."""

from metaem_core.config.pretrain import PretrainConfig
from tasks.models.data import read_domain, training_ratings
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage


@stage("pretrain")
def pretrain(
    store: Store, config: PretrainConfig, domain: ArtifactRef, split: ArtifactRef | None
) -> ArtifactRef:
    """Train a domain; ``split`` removes the held-out users' ratings from a target domain."""
    # torch is imported only by runs that train
    from metaem_core.methods.metaem.pretraining import Pretraining
    from tasks.models.metaem import write_model
    from tasks.models.train import forget, train, write_curve, write_traffic

    known = read_domain(store, domain)
    ratings = training_ratings(store, known, split)
    work = Pretraining(config, ratings)
    train(store, work.training)
    with store.draft() as draft:
        write_model(draft, work.model(), known)
        write_curve(draft, work.training.curve())
        write_traffic(draft, [work.training], work.traffic())
    forget(store)
    return draft.ref
