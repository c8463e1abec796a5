"""Stage 2 of bias transfer with DP: the line between biases, and the privacy budget spent."""

from metaem_core.config.dp import PrivateConfig
from tasks.models.budget import BUDGET, budget, read_releases, write_releases
from tasks.models.data import read_pair
from tasks.models.method_id import bias_transfer_dp, write_method
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage


@stage("dp_transfer")
def dp_transfer(
    store: Store,
    config: PrivateConfig,
    source_model: ArtifactRef,
    target_model: ArtifactRef,
    source: ArtifactRef,
    target: ArtifactRef,
    split: ArtifactRef,
) -> ArtifactRef:
    """The line from source to target biases, and the budget that the whole run spent.

    Raises:
        ValueError: the recorded releases spend more than the run was allowed.
    """
    # torch is imported only by runs that train
    import torch

    from metaem_core.models.mapping import map_users
    from metaem_core.privacy.dp.bias_transfer import dp_bias_mapping, releases
    from tasks.models.metaem import read_model, read_user_vectors, write_mapping
    from tasks.models.train import write_curve

    data = read_pair(store, source, target, split)
    pair, shared = data.pair, data.roles.shared
    profiles, model = read_user_vectors(store, source_model), read_model(store, target_model)
    released = releases(config, "mapping", pair.source, pair.target)
    theta = dp_bias_mapping(profiles, model, pair, config, released)
    earlier = [each for ref in (source_model, target_model) for each in read_releases(store, ref)]
    spent = budget(config, [*earlier, *released.log])
    mapped = map_users(theta, profiles[torch.from_numpy(data.source.users(shared))])
    with store.draft() as draft:
        write_mapping(draft, theta, shared, mapped)
        write_method(draft, bias_transfer_dp(config.epsilon))
        write_curve(draft, [])
        write_releases(draft, released.log)
        draft.write_json(BUDGET, spent)
    return draft.ref
