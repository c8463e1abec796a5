"""Trained parts, put together to rate for users without a target row."""

from collections.abc import Iterable

from metaem_core.methods.cold_start import cold_predictor
from metaem_core.models.mapping import map_users
from metaem_core.pair import Predict
from tasks.artifacts import ArtifactRef, Store
from tasks.domains import Domain
from tasks.factor_models import read_cold
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


def rival_predictors(
    store: Store, rivals: Iterable[ArtifactRef], source: Domain
) -> dict[str, Predict]:
    """Methods by name, each a transfer or, for another MetaEM, a mapping artifact."""
    found: dict[str, Predict] = {}
    for ref in rivals:
        if ref.stage == "mapping":
            name, predict = "metaem-paper", _metaem_of(store, ref)
        else:
            cold = read_cold(store, ref, source)
            name, predict = cold.name, cold.predict
        if name in found:
            raise ValueError(f"two models are called {name!r}")
        found[name] = predict
    return found


def _metaem_of(store: Store, mapping: ArtifactRef) -> Predict:
    """MetaEM by its last artifact alone; the two that it was made from are verified too."""
    inputs = store.manifest(mapping).provenance.inputs
    (source_model,), (target_model,) = inputs["source_model"], inputs["target_model"]
    for ref in (source_model, target_model):
        store.verify(ref)
    return metaem_predict(store, source_model, target_model, mapping)
