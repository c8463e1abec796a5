"""Trained domains and mappings as files of their artifacts."""

from typing import TypedDict, cast

import numpy as np
import polars as pl
import torch
from torch import Tensor

from data_contracts.embeddings import item_embeddings, mapped_users, user_embeddings
from metaem_core.models.metaem import DomainModel, domain_of
from metaem_core.models.mlp import Parameters
from tasks.models.data import Domain
from tasks.store.artifacts import ArtifactRef, Draft, Store

NETWORKS = "networks.safetensors"
ITEM_FEATURES = "item_features"  # in that file too
FORMER_ITEM_FEATURES = "item_features"  # their name in stores of version 0.1.0


class _About(TypedDict):
    """``model.json``: what is neither a table nor a network."""

    mean_rating: float
    relu_last: bool
    meta_reads_raw: bool


def write_model(draft: Draft, model: DomainModel, domain: Domain) -> None:
    """Embeddings as Parquet keyed by id, networks as safetensors."""
    k_u, k_c = model.user_embeddings.shape[1], model.common_items.shape[1]
    mean = float(model.item_offsets.mean())
    with torch.no_grad():
        vectors = model.source_vectors(torch.arange(len(domain.user_ids)))
    users = {
        "user_id": domain.user_ids,
        "embedding": to_lists(model.user_embeddings),
        "vector": to_lists(vectors),
    }
    items = {
        "item_id": domain.item_ids,
        "embedding": to_lists(model.common_items),
        "bias": (model.item_offsets - mean).numpy(),
    }
    about = _About(mean_rating=mean, relu_last=model.relu_last, meta_reads_raw=model.meta_reads_raw)
    draft.write_frame("users.parquet", pl.DataFrame(users), user_embeddings(k_u, vectors.shape[1]))
    draft.write_frame("items.parquet", pl.DataFrame(items), item_embeddings(k_c))
    tensors = {**model.tensors(), ITEM_FEATURES: model.item_features}
    draft.write_tensors(NETWORKS, tensors)
    draft.write_json("model.json", about)


def read_model(store: Store, ref: ArtifactRef) -> DomainModel:
    """A pretrain artifact."""
    users = store.read_frame(ref, "users.parquet")
    items = store.read_frame(ref, "items.parquet")
    about = cast(_About, store.read_json(ref, "model.json"))
    tensors = store.read_tensors(ref, NETWORKS)
    if FORMER_ITEM_FEATURES in tensors:
        tensors[ITEM_FEATURES] = tensors.pop(FORMER_ITEM_FEATURES)
    embeddings, vectors = from_lists(users["embedding"]), from_lists(users["vector"])
    tables = {
        "user_embeddings": embeddings,
        "user_profiles": vectors[:, embeddings.shape[1] :],
        "common_items": from_lists(items["embedding"]),
        "item_offsets": from_lists(items["bias"]) + about["mean_rating"],
    }
    return domain_of({**tensors, **tables}, about["relu_last"], about["meta_reads_raw"])


def read_user_vectors(store: Store, ref: ArtifactRef) -> Tensor:
    """Source vectors of every user of a pretrain artifact: all that leaves the domain."""
    return from_lists(store.read_frame(ref, "users.parquet")["vector"])


def write_mapping(draft: Draft, mapping: Parameters, users: pl.Series, vectors: Tensor) -> None:
    """f_theta, and the target vectors (B, k_u) that it gives the shared ``users`` (B,)."""
    frame = pl.DataFrame({"user_id": users, "vector": to_lists(vectors)})
    draft.write_tensors("mapping.safetensors", {str(i): p for i, p in enumerate(mapping)})
    draft.write_frame("users.parquet", frame, mapped_users(vectors.shape[1]))


def read_mapping(store: Store, ref: ArtifactRef) -> Parameters:
    """f_theta of a mapping artifact."""
    layers = store.read_tensors(ref, "mapping.safetensors")
    return tuple(layers[str(number)] for number in range(len(layers)))


def to_lists(table: Tensor) -> pl.Series:
    """A table (B, k) as a column of fixed-size lists."""
    return pl.Series(table.numpy(), dtype=pl.Array(pl.Float32, table.shape[1]))


def from_lists(column: pl.Series) -> Tensor:
    """A numeric column (B,), or a column of fixed-size lists as a table (B, k)."""
    return torch.from_numpy(np.array(column.to_numpy()))
