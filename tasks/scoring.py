"""MetaEM's trained parts, put together to rate for users without a target row."""

from metaem_core.methods.cold_start import cold_predictor
from metaem_core.models.mapping import map_users
from metaem_core.pair import Predict
from tasks.artifacts import ArtifactRef, Store
from tasks.models import read_model, read_user_vectors


def metaem_predict(
    store: Store, source_model: ArtifactRef, target_model: ArtifactRef, mapping: ArtifactRef
) -> Predict:
    """Section 3.5: source vectors through f_theta into the target's networks."""
    layers = store.read_tensors(mapping, "mapping.safetensors")
    trained = tuple(layers[str(number)] for number in range(len(layers)))
    vectors = read_user_vectors(store, source_model)
    return cold_predictor(
        lambda users: map_users(trained, vectors[users]), read_model(store, target_model)
    )
