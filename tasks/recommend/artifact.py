"""A recommender's artifact: its tensors, its header and the ids of its items, but no user."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from data_contracts.ratings import Items
from metaem_core.data.ratings import RatingScale
from metaem_core.data.user_profile import ProfileStatistics
from metaem_core.models.metaem import DomainModel, domain_of, network
from metaem_core.models.recommender import Recommender
from tasks.store.artifacts import ArtifactRef, Draft, Store

TENSORS, HEADER = "recommender.safetensors", "recommender.json"
FORMAT = 2  # of both files
_USER_TABLES = ("user_embeddings", "user_profiles")
_ITEM_TABLES = ("common_items", "item_offsets", "item_features")


@dataclass(frozen=True)
class ItemRecommender:
    """A recommender and the ids of its items."""

    recommender: Recommender
    task: str
    scale: RatingScale
    source_items: pl.Series  # ids (n_s,) ascending
    target_items: pl.Series  # ids (n_t,) ascending


@dataclass(frozen=True)
class _Header:
    """``recommender.json``."""

    format: int
    task: str
    scale: RatingScale
    damping: float
    relu_last: dict[str, bool]  # by domain
    statistics: dict[str, float | tuple[float, ...]]  # numbers of ProfileStatistics


def write_recommender(draft: Draft, packed: ItemRecommender) -> None:
    """Everything that recommending needs, without any user's row."""
    recommender = packed.recommender
    sides = {"source": recommender.source, "target": recommender.target}
    statistics = vars(recommender.statistics)
    arrays = {name: value for name, value in statistics.items() if isinstance(value, np.ndarray)}
    tensors = {f"mapping.{i}": parameter for i, parameter in enumerate(recommender.mapping)}
    tensors |= {f"statistics.{name}": torch.from_numpy(array) for name, array in arrays.items()}
    for side, model in sides.items():
        tensors |= {f"{side}.{name}": tensor for name, tensor in _tensors(model).items()}
    header = _Header(
        FORMAT,
        packed.task,
        packed.scale,
        recommender.damping,
        {side: model.relu_last for side, model in sides.items()},
        {name: value for name, value in statistics.items() if name not in arrays},
    )
    draft.write_tensors(TENSORS, tensors)
    draft.write_json(HEADER, TypeAdapter(_Header).dump_python(header, mode="json"))
    for side, ids in (("source", packed.source_items), ("target", packed.target_items)):
        draft.write_frame(f"{side}_items.parquet", pl.DataFrame({"item_id": ids}), Items)


def open_recommender(store: Store, ref: ArtifactRef) -> ItemRecommender:
    """A recommender artifact, every byte of it verified.

    Raises:
        ValueError: it is damaged, or of a format that this version does not read.
    """
    store.verify(ref)
    header = _header(store, ref)
    tensors = store.read_tensors(ref, TENSORS)
    arrays = {name: tensor.numpy() for name, tensor in _below("statistics", tensors).items()}
    recommender = Recommender(
        source=_model("source", tensors, header),
        statistics=ProfileStatistics(**arrays, **header.statistics),  # type: ignore[arg-type]  # as written
        target=_model("target", tensors, header),
        mapping=network(tensors, "mapping"),
        damping=header.damping,
    )
    source, target = (
        store.read_frame(ref, f"{side}_items.parquet")["item_id"] for side in ("source", "target")
    )
    return ItemRecommender(recommender, header.task, header.scale, source, target)


def _header(store: Store, ref: ArtifactRef) -> _Header:
    try:
        header = TypeAdapter(_Header).validate_python(store.read_json(ref, HEADER))
    except ValidationError:
        header = None
    if header is None or header.format != FORMAT:
        raise ValueError(
            f"{ref} is not of format {FORMAT}, which this version reads: make it again with "
            "`metaem run` and `metaem recommend`, or use the version that wrote it"
        )
    return header


def _tensors(model: DomainModel) -> dict[str, Tensor]:
    users = {name: getattr(model, name)[:0] for name in _USER_TABLES}
    items = {name: getattr(model, name) for name in _ITEM_TABLES}
    return {**users, **items, **model.tensors()}


def _model(side: str, tensors: dict[str, Tensor], header: _Header) -> DomainModel:
    return domain_of(_below(side, tensors), header.relu_last[side], meta_reads_raw=False)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
