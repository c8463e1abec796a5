"""Centrally trained domains, and what a method makes of them, as files of their artifacts."""

from dataclasses import dataclass
from typing import TypedDict, cast

import numpy as np
import polars as pl
import torch
from torch import Tensor

from data_contracts.embeddings import factor_users, item_embeddings, mapped_users
from metaem_core.config.factor import Base
from metaem_core.data.pair import Predict
from metaem_core.data.ratings import Floats, Ints
from metaem_core.methods.transfer_problem import ColdModel
from metaem_core.models.factors import FactorModel
from tasks.models.data import Domain
from tasks.models.metaem import from_lists, to_lists
from tasks.models.method_id import MethodId, read_method
from tasks.store.artifacts import ArtifactRef, Draft, Store

HEAD = "head.safetensors"


class _About(TypedDict):
    """``model.json``: what is neither a table nor a network."""

    base: Base
    centred: bool
    mean_rating: float


def write_domain(draft: Draft, model: FactorModel, domain: Domain) -> None:
    """Users and items as Parquet keyed by id, the head as safetensors."""
    size = model.users.shape[1]
    bias = model.bias[:, 0] if model.centred else torch.zeros(len(model.users))
    users = {
        "user_id": domain.user_ids,
        "embedding": to_lists(model.users),
        "bias": bias.numpy(),
    }
    draft.write_frame("users.parquet", pl.DataFrame(users), factor_users(size))
    _write_items(draft, model, domain)


def read_domain_model(store: Store, ref: ArtifactRef) -> FactorModel:
    """A factorise artifact."""
    users = store.read_frame(ref, "users.parquet")
    about = _about(store, ref)
    bias = from_lists(users["bias"]).unsqueeze(1)
    bias = bias if about["centred"] else bias[:, :0]
    return _model(store, ref, from_lists(users["embedding"]), bias)


def write_cold(
    draft: Draft, cold: ColdModel, users: pl.Series, indices: Ints, target: Domain
) -> None:
    """The target vectors of the shared ``users`` (B,) at source ``indices`` (B,), and the items."""
    with torch.no_grad():
        vectors = cold.embed(torch.from_numpy(indices))
    frame = pl.DataFrame({"user_id": users, "vector": to_lists(vectors)})
    draft.write_frame("users.parquet", frame, mapped_users(vectors.shape[1]))
    _write_items(draft, cold.target, target)


@dataclass(frozen=True)
class ColdRatings:
    """A trained method, ready to rate."""

    method: MethodId
    predict: Predict  # by source index


def read_cold(store: Store, ref: ArtifactRef, source: Domain) -> ColdRatings:
    """A transfer artifact; it knows the users that both domains share."""
    users = store.read_frame(ref, "users.parquet")
    vectors = from_lists(users["vector"])
    model = _model(store, ref, vectors, vectors[:, :0])
    row = np.full(len(source.user_ids), -1)
    row[source.users(users["user_id"])] = np.arange(len(users))

    def predict(users: Ints, items: Ints) -> Floats:
        assert (row[users] >= 0).all(), "a user is not in the overlap"
        with torch.no_grad():
            own = vectors.index_select(0, torch.from_numpy(row[users]))
            rated: Floats = model.rate(own, torch.from_numpy(items)).numpy()
        return rated

    return ColdRatings(read_method(store, ref), predict)


def _write_items(draft: Draft, model: FactorModel, domain: Domain) -> None:
    mean = float(model.offsets.mean())
    items = {
        "item_id": domain.item_ids,
        "embedding": to_lists(model.items),
        "bias": (model.offsets - mean).numpy(),
    }
    draft.write_frame("items.parquet", pl.DataFrame(items), item_embeddings(model.items.shape[1]))
    draft.write_tensors(HEAD, {str(i): p.detach() for i, p in enumerate(model.head)})
    about = _About(base=model.base, centred=model.centred, mean_rating=mean)
    draft.write_json("model.json", about)


def _model(store: Store, ref: ArtifactRef, users: Tensor, bias: Tensor) -> FactorModel:
    items = store.read_frame(ref, "items.parquet")
    about, head = _about(store, ref), store.read_tensors(ref, HEAD)
    offsets = from_lists(items["bias"]) + about["mean_rating"]
    parameters = tuple(head[str(i)] for i in range(len(head)))
    return FactorModel(
        about["base"], users, from_lists(items["embedding"]), offsets, bias, parameters
    )


def _about(store: Store, ref: ArtifactRef) -> _About:
    return cast(_About, store.read_json(ref, "model.json"))
