"""A recommender's artifact: its tensors, its header and the ids of its items, but no user."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from data_contracts.ratings import Items
from metaem_core.data.ratings import RatingScale
from metaem_core.data.user_profile import ProfileStatistics
from metaem_core.models.choice import ItemFactors
from metaem_core.models.choice_mapping import ChoiceModel, ChoiceScorer, SourceFeatures
from metaem_core.models.choice_recommender import ChoiceRecommender
from metaem_core.models.metaem import DomainModel, domain_of, network
from metaem_core.models.recommender import Recommender
from tasks.store.artifacts import ArtifactRef, Draft, Store

TENSORS, HEADER = "recommender.safetensors", "recommender.json"
FORMAT = 4  # of both files
_USER_TABLES = ("user_embeddings", "user_profiles")
_ITEM_TABLES = ("common_items", "item_offsets", "item_features")


@dataclass(frozen=True)
class ItemRecommender:
    """A recommender's two halves and the ids of its items."""

    choice: ChoiceRecommender
    stars: Recommender | None  # None: a domain has none
    task: str
    scale: RatingScale | None  # of the source; None: it has no stars
    threshold: float | None  # the fewest stars of a choice in the source; None: any rating is one
    source_items: pl.Series  # ids (n_s,) ascending
    target_items: pl.Series  # ids (n_t,) ascending


@dataclass(frozen=True)
class _Choice:
    """Numbers of the half of choice."""

    widths: list[int]  # of the tables
    weight: float  # of the last
    unobserved: float
    l2: float


@dataclass(frozen=True)
class _Stars:
    """Numbers of the half of stars."""

    damping: float
    relu_last: dict[str, bool]  # by domain
    statistics: dict[str, float | tuple[float, ...]]  # numbers of ProfileStatistics


@dataclass(frozen=True)
class _Header:
    """``recommender.json``."""

    format: int
    task: str
    scale: RatingScale | None
    threshold: float | None
    choice: _Choice
    stars: _Stars | None


def write_recommender(draft: Draft, packed: ItemRecommender) -> None:
    """Everything that recommending needs, without any user's row."""
    model = packed.choice.model
    factors, tables = model.features.items, model.scorer.tables
    header = _Header(
        FORMAT,
        packed.task,
        packed.scale,
        packed.threshold,
        _Choice(
            [table.shape[1] for table in tables],
            model.scorer.weight,
            factors.unobserved,
            factors.l2,
        ),
        None if packed.stars is None else _numbers(packed.stars),
    )
    tensors = {
        "choice.items": factors.vectors,
        "choice.turn": model.features.turn,
        "choice.leading": model.features.leading,
        "choice.average": model.average,
        "choice.tables": torch.cat(tables, 1),
    }
    draft.write_tensors(TENSORS, tensors | ({} if packed.stars is None else _stars(packed.stars)))
    draft.write_json(HEADER, TypeAdapter(_Header).dump_python(header, mode="json"))
    for side, ids in (("source", packed.source_items), ("target", packed.target_items)):
        draft.write_frame(f"{side}_items.parquet", pl.DataFrame({"item_id": ids}), Items)


def _stars(recommender: Recommender) -> dict[str, Tensor]:
    arrays, _ = _split(recommender.statistics)
    tensors = {f"mapping.{i}": parameter for i, parameter in enumerate(recommender.mapping)}
    tensors |= {f"statistics.{name}": torch.from_numpy(array) for name, array in arrays.items()}
    for side, model in (("source", recommender.source), ("target", recommender.target)):
        tensors |= {f"{side}.{name}": tensor for name, tensor in _tensors(model).items()}
    return tensors


def _numbers(recommender: Recommender) -> _Stars:
    sides = {"source": recommender.source, "target": recommender.target}
    relu_last = {side: model.relu_last for side, model in sides.items()}
    return _Stars(recommender.damping, relu_last, _split(recommender.statistics)[1])


def _split(
    statistics: ProfileStatistics,
) -> tuple[dict[str, NDArray[np.float64]], dict[str, float | tuple[float, ...]]]:
    """Its arrays, and its numbers."""
    fields = vars(statistics)
    arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
    return arrays, {name: value for name, value in fields.items() if name not in arrays}


def open_recommender(store: Store, ref: ArtifactRef) -> ItemRecommender:
    """A recommender artifact, every byte of it verified.

    Raises:
        ValueError: it is damaged, or of a format that this version does not read.
    """
    store.verify(ref)
    header = _header(store, ref)
    tensors = store.read_tensors(ref, TENSORS)
    source, target = (
        store.read_frame(ref, f"{side}_items.parquet")["item_id"] for side in ("source", "target")
    )
    return ItemRecommender(
        _read_choice(_below("choice", tensors), header.choice),
        None if header.stars is None else _read_stars(tensors, header.stars),
        header.task,
        header.scale,
        header.threshold,
        source,
        target,
    )


def _read_choice(tensors: dict[str, Tensor], numbers: _Choice) -> ChoiceRecommender:
    items = ItemFactors.of(tensors["items"], numbers.unobserved, numbers.l2)
    scorer = ChoiceScorer(torch.split(tensors["tables"], numbers.widths, 1), numbers.weight)
    features = SourceFeatures(items, tensors["turn"], tensors["leading"])
    return ChoiceRecommender(ChoiceModel(features, scorer, tensors["average"]))


def _read_stars(tensors: dict[str, Tensor], numbers: _Stars) -> Recommender:
    arrays = {name: tensor.numpy() for name, tensor in _below("statistics", tensors).items()}
    source, target = (
        domain_of(_below(side, tensors), numbers.relu_last[side], meta_reads_raw=False)
        for side in ("source", "target")
    )
    return Recommender(
        source=source,
        statistics=ProfileStatistics(**arrays, **numbers.statistics),  # type: ignore[arg-type]  # as written
        target=target,
        mapping=network(tensors, "mapping"),
        damping=numbers.damping,
    )


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


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
