"""Independent pretraining of one domain as factors, as the other methods of Table 3 need it."""

from metaem_core.config.factor import FactorConfig
from tasks.models.data import read_domain, training_ratings
from tasks.progress import advance
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage


@stage("factorise")
def factorise(
    store: Store, config: FactorConfig, domain: ArtifactRef, split: ArtifactRef | None
) -> ArtifactRef:
    """Train a domain; ``split`` removes the held-out users' ratings from a target domain."""
    # torch is imported only by runs that train
    from metaem_core.methods.factorisation.pretraining import Factorisation
    from tasks.models.factors import write_domain
    from tasks.models.train import write_curve

    data = read_domain(store, domain)
    ratings = training_ratings(store, data, split)
    work = Factorisation(config, ratings)
    curve = []
    for stats in work.epochs():
        curve.append(stats)
        advance(stats.epoch, config.epochs, note=f"loss {stats.loss:.3f}")
    with store.draft() as draft:
        write_domain(draft, work.model(), data)
        write_curve(draft, curve)
    return draft.ref
