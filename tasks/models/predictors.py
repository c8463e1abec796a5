"""Trained parts, put together to rate for users without a target row."""

from collections.abc import Sequence

from metaem_core.methods.metaem.cold_start import cold_predictor
from metaem_core.models.mapping import map_users
from tasks.models.data import Domain
from tasks.models.factors import ColdRatings, read_cold
from tasks.models.metaem import read_mapping, read_model, read_user_vectors
from tasks.models.method_id import read_method
from tasks.store.artifacts import ArtifactRef, Store


def metaem(
    store: Store, source_model: ArtifactRef, target_model: ArtifactRef, mapping: ArtifactRef
) -> ColdRatings:
    """Section 3.5: source vectors through f_theta into the target's networks."""
    trained = read_mapping(store, mapping)
    vectors, target = read_user_vectors(store, source_model), read_model(store, target_model)
    predict = cold_predictor(lambda users: map_users(trained, vectors[users]), target)
    return ColdRatings(read_method(store, mapping), predict)


def read_others(store: Store, refs: Sequence[ArtifactRef], source: Domain) -> list[ColdRatings]:
    """A method for each baseline artifact, or mapping artifact of another MetaEM or of DP."""
    return [
        read_cold(store, ref, source) if ref.stage == "baseline" else metaem_of(store, ref)
        for ref in refs
    ]


def metaem_of(store: Store, mapping: ArtifactRef) -> ColdRatings:
    """MetaEM by its last artifact alone."""
    return metaem(store, *models_of(store, mapping), mapping)


def models_of(store: Store, mapping: ArtifactRef) -> tuple[ArtifactRef, ArtifactRef]:
    """The source and the target that a mapping was made from, verified."""
    inputs = store.manifest(mapping).provenance.inputs
    (source_model,), (target_model,) = inputs["source_model"], inputs["target_model"]
    for ref in (source_model, target_model):
        store.verify(ref)
    return source_model, target_model
