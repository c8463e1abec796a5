"""Stage 1 of bias transfer with DP: a domain's biases, from noisy sums over its devices."""

from metaem_core.config.dp import PrivateConfig
from tasks.models.budget import write_releases
from tasks.models.data import read_domain, training_ratings
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage


@stage("dp_biases")
def dp_biases(
    store: Store, config: PrivateConfig, domain: ArtifactRef, split: ArtifactRef | None
) -> ArtifactRef:
    """The biases of a domain; ``split`` removes the held-out users' ratings from a target."""
    # torch is imported only by runs that train
    from metaem_core.privacy.dp.bias_transfer import dp_bias_domain, releases
    from tasks.models.metaem import write_model

    data = read_domain(store, domain)
    ratings = training_ratings(store, data, split)
    released = releases(config, "source" if split is None else "target", ratings)
    model = dp_bias_domain(ratings, config, released)
    with store.draft() as draft:
        write_model(draft, model, data)
        write_releases(draft, released.log)
    return draft.ref
