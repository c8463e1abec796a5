"""A trained cell as one recommender artifact that names no user."""

from dataclasses import dataclass

from metaem_core.data.ratings import RatingScale
from tasks.models.data import read_domain
from tasks.recommend.selected_model import SelectedModel
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage


@dataclass(frozen=True)
class RecommenderConfig:
    """Settings that are in none of the trained parts."""

    task: str
    scale: RatingScale
    damping: float  # lambda of Eq. 10 for rows of U


@stage("recommender")
def recommender(
    store: Store,
    config: RecommenderConfig,
    source: ArtifactRef,
    source_model: ArtifactRef,
    target_model: ArtifactRef,
    mapping: ArtifactRef,
) -> ArtifactRef:
    """Both domains without their users, the source's statistics and f_theta."""
    # torch is imported only by runs that need it
    from metaem_core.data.bias import fitted_biases
    from metaem_core.data.user_profile import ProfileStatistics
    from metaem_core.models.recommender import Recommender
    from tasks.models.metaem import read_mapping, read_model
    from tasks.recommend.artifact import ItemRecommender, write_recommender

    ratings = read_domain(store, source).ratings
    model = Recommender(
        source=read_model(store, source_model),
        statistics=ProfileStatistics.of(ratings, fitted_biases(ratings)),
        target=read_model(store, target_model),
        mapping=read_mapping(store, mapping),
        damping=config.damping,
    )
    ids = (
        store.read_frame(ref, "items.parquet")["item_id"] for ref in (source_model, target_model)
    )
    with store.draft() as draft:
        write_recommender(draft, ItemRecommender(model, config.task, config.scale, *ids))
    return draft.ref


def recommender_of(store: Store, model: SelectedModel) -> ArtifactRef:
    """The recommender of a cell, computed once."""
    parts = model.parts
    config = store.manifest(parts["source_model"]).provenance.config
    trained = config.get("pretrain", config)  # older stores: a part, if devices were real
    scale = store.manifest(parts["source"]).provenance.config["scale"]
    assert isinstance(trained, dict), "a pretraining says how it trained"
    assert isinstance(scale, dict), "a filter says which scale it kept to"
    if trained["tables"] != "newton":
        raise ValueError("a new user's vector is known with pretrain.tables=newton alone")
    wanted = RecommenderConfig(model.cell["task"], RatingScale(**scale), trained["table_l2"])
    names = ("source", "source_model", "target_model", "mapping")
    return recommender.fn(store, wanted, *(parts[name] for name in names))
