"""Domains pretrained on choices, and the mapping between two, as files of their artifacts."""

from typing import TypedDict, cast

import polars as pl
import torch

from data_contracts.embeddings import choice_items, choice_tables
from metaem_core.models.choice import ChoiceDomain, ItemFactors
from metaem_core.models.choice_mapping import ChoiceModel, ChoiceScorer, SourceFeatures
from tasks.models.metaem import from_lists, to_lists
from tasks.store.artifacts import ArtifactRef, Draft, Store

SUMS, TURN = "sums.safetensors", "turn.safetensors"


class _About(TypedDict):
    """``model.json`` of a domain."""

    unobserved: float
    l2: float


class _AboutMapping(TypedDict):
    """``model.json`` of a mapping."""

    widths: list[int]  # of the tables, side by side
    weight: float  # of the last


def write_choice_domain(draft: Draft, model: ChoiceDomain, item_ids: pl.Series) -> None:
    """Items as Parquet keyed by id; sums over users and Q, in their order, as safetensors."""
    vectors = model.items.vectors.float()
    items = {
        "item_id": item_ids,
        "vector": to_lists(vectors),
        "users": pl.Series(model.popularity.round().long().numpy(), dtype=pl.UInt32),
    }
    draft.write_frame("items.parquet", pl.DataFrame(items), choice_items(vectors.shape[1]))
    draft.write_tensors(SUMS, {"moments": model.moments, "leading": model.leading.float()})
    draft.write_json("model.json", _About(unobserved=model.items.unobserved, l2=model.items.l2))


def read_choice_domain(store: Store, ref: ArtifactRef) -> ChoiceDomain:
    """A choice_pretrain artifact."""
    items = store.read_frame(ref, "items.parquet")
    sums = store.read_tensors(ref, SUMS)
    popularity = from_lists(items["users"]).double()
    return ChoiceDomain(_factors(store, ref), popularity, sums["moments"], sums["leading"])


def _factors(store: Store, ref: ArtifactRef) -> ItemFactors:
    about = cast(_About, store.read_json(ref, "model.json"))
    vectors = from_lists(store.read_frame(ref, "items.parquet")["vector"])
    return ItemFactors.of(vectors, about["unobserved"], about["l2"])


def write_choice_model(draft: Draft, model: ChoiceModel, item_ids: pl.Series) -> None:
    """The mapping's own part; the source's item vectors stay in the source's artifact."""
    tables = torch.cat(model.scorer.tables, 1)
    items = {"item_id": item_ids, "table": to_lists(tables)}
    draft.write_frame("items.parquet", pl.DataFrame(items), choice_tables(tables.shape[1]))
    turn = {"turn": model.features.turn.contiguous(), "average": model.average}
    draft.write_tensors(TURN, turn)
    widths = [table.shape[1] for table in model.scorer.tables]
    draft.write_json("model.json", _AboutMapping(widths=widths, weight=model.scorer.weight))


def read_choice_model(store: Store, mapping: ArtifactRef) -> ChoiceModel:
    """A choice_mapping artifact, with the source that it was made from."""
    (source,) = store.manifest(mapping).provenance.inputs["source_model"]
    store.verify(source)
    leading = store.read_tensors(source, SUMS)["leading"]
    kept = store.read_tensors(mapping, TURN)
    tables = from_lists(store.read_frame(mapping, "items.parquet")["table"])
    about = cast(_AboutMapping, store.read_json(mapping, "model.json"))
    scorer = ChoiceScorer(torch.split(tables, about["widths"], 1), about["weight"])
    features = SourceFeatures(_factors(store, source), kept["turn"], leading)
    return ChoiceModel(features, scorer, kept["average"])
