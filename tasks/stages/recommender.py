"""A trained cell as one recommender artifact that names no user."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from metaem_core.data.ratings import RatingScale
from tasks.models.data import read_domain
from tasks.recommend.selected_model import SelectedModel
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage

if TYPE_CHECKING:
    from metaem_core.models.recommender import Recommender


@dataclass(frozen=True)
class RecommenderConfig:
    """Settings that are in none of the trained parts."""

    task: str
    scale: RatingScale | None  # of the source; None: it has no stars
    threshold: float | None  # the fewest stars of a choice in the source
    damping: float | None  # lambda of Eq. 10 for rows of U; None: no half of stars


@stage("recommender")
def recommender(
    store: Store,
    config: RecommenderConfig,
    source: ArtifactRef,
    choice_model: ArtifactRef,
    choice_mapping: ArtifactRef,
    star_models: list[ArtifactRef],
) -> ArtifactRef:
    """Both domains without their users, and what maps one to the other.

    Args:
        choice_model: of the source.
        star_models: source, target and mapping, where both domains have stars.
    """
    # torch is imported only by runs that need it
    from metaem_core.models.choice_recommender import ChoiceRecommender
    from tasks.models.choice import read_choice_model
    from tasks.recommend.artifact import ItemRecommender, write_recommender

    ids = (
        store.read_frame(ref, "items.parquet")["item_id"] for ref in (choice_model, choice_mapping)
    )
    choice = ChoiceRecommender(read_choice_model(store, choice_mapping))
    stars = _stars(store, config.damping, source, *star_models) if config.damping else None
    with store.draft() as draft:
        packed = ItemRecommender(choice, stars, config.task, config.scale, config.threshold, *ids)
        write_recommender(draft, packed)
    return draft.ref


def _stars(
    store: Store,
    damping: float,
    source: ArtifactRef,
    source_model: ArtifactRef,
    target_model: ArtifactRef,
    mapping: ArtifactRef,
) -> "Recommender":
    from metaem_core.data.bias import fitted_biases
    from metaem_core.data.user_profile import ProfileStatistics
    from metaem_core.models.recommender import Recommender
    from tasks.models.metaem import read_mapping, read_model

    ratings = read_domain(store, source).ratings
    return Recommender(
        source=read_model(store, source_model),
        statistics=ProfileStatistics.of(ratings, fitted_biases(ratings)),
        target=read_model(store, target_model),
        mapping=read_mapping(store, mapping),
        damping=damping,
    )


def recommender_of(store: Store, selected: SelectedModel) -> ArtifactRef:
    """The recommender of a cell, computed once."""
    parts = selected.parts
    names = ("source_model", "target_model", "star_mapping")
    stars = [parts[name] for name in names if name in parts]
    scale = _config(store, parts["source"])["scale"]
    wanted = RecommenderConfig(
        selected.cell["task"],
        RatingScale(**cast(dict[str, float], scale)) if scale else None,
        cast(float | None, _config(store, parts["choice_model"])["threshold"]),
        _damping(store, stars[0]) if stars else None,
    )
    source, model, mapping = (parts[name] for name in ("source", "choice_model", "choice_mapping"))
    return recommender.fn(store, wanted, source, model, mapping, stars)


def _damping(store: Store, source_model: ArtifactRef) -> float | None:
    """By which a new user's vector of stars is known; None: it is not, without Newton's steps."""
    config = _config(store, source_model)
    trained = config.get("pretrain", config)  # older stores: a part, if devices were real
    assert isinstance(trained, dict), "a pretraining says how it trained"
    return float(trained["table_l2"]) if trained["tables"] == "newton" else None


def _config(store: Store, ref: ArtifactRef) -> dict[str, object]:
    return {**store.manifest(ref).provenance.config}
