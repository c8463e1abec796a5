"""The paper's Figure 2 for one cell: target and transformed user vectors, by t-SNE and in numbers.

A training user's target vector is the model's own. A cold user has none: it is folded in from
their target ratings, against the item vectors that their transformed vector is multiplied with.
Biases are left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from data_contracts.pictures import Closeness, Points
from tasks.models.data import read_domain, read_split
from tasks.models.method_id import MethodId, read_method, write_methods
from tasks.progress import advance
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage

if TYPE_CHECKING:
    from torch import Tensor

    from tasks.models.embeddings import Drawn, Views

SHOWN = ("ptupcdr", "ptupcdr-paper", "metaem-paper")  # of the other methods
PERPLEXITY = 30.0
USERS = 256  # at most, of the training users and of the cold ones
# of the fold-in: the one that comes closest to training users' own vectors
DAMPINGS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


@dataclass(frozen=True)
class VisualiseConfig:
    """What is drawn."""

    task: str
    beta: float
    seed: int = 0


@stage("visualise", "scikit-learn")
def visualise(
    store: Store,
    config: VisualiseConfig,
    source: ArtifactRef,
    target: ArtifactRef,
    split: ArtifactRef,
    source_model: ArtifactRef,
    target_model: ArtifactRef,
    mapping: ArtifactRef,
    other_methods: list[ArtifactRef],
) -> ArtifactRef:
    """Draw the same training and cold users for MetaEM and PTUPCDR."""
    # torch is imported only by runs that need it
    from tasks.models.embeddings import draw, metaem_views

    domains = read_domain(store, source), read_domain(store, target)
    roles = read_split(store, split)
    drawn = {
        users: draw(*domains, ids, USERS, config.seed)
        for users, ids in (("train", roles.train), ("cold", roles.cold))
    }
    parts = source_model, target_model, mapping
    views = {read_method(store, mapping): metaem_views(store, *parts)}
    views |= _other_views(store, other_methods)
    points, closeness = [], []
    for done, (method, view) in enumerate(views.items()):
        advance(done, len(views), unit="method", note=method.name)
        for users, vectors, row in _compared(view, drawn):
            points.append(_points(method.name, users, vectors, config.seed))
            closeness.append({"method": method.name, "users": users, **row})
    with store.draft() as draft:
        draft.write_frame("tsne.parquet", pl.concat(points), Points)
        draft.write_frame("closeness.parquet", Closeness.cast(pl.DataFrame(closeness)), Closeness)
        draft.write_json("experiment.json", asdict(config))
        write_methods(draft, views)
    return draft.ref


def _other_views(store: Store, other_methods: list[ArtifactRef]) -> "dict[MethodId, Views]":
    from tasks.models.embeddings import factor_views, metaem_views
    from tasks.models.predictors import models_of

    methods = {read_method(store, ref): ref for ref in other_methods}
    return {
        method: metaem_views(store, *models_of(store, ref), ref)
        if ref.stage == "mapping"
        else factor_views(store, ref)
        for method, ref in methods.items()
        if method.name in SHOWN
    }


def _compared(
    view: "Views", drawn: "Mapping[str, Drawn]"
) -> "Iterator[tuple[str, tuple[Tensor, Tensor], dict[str, object]]]":
    """Sort of users, their target and transformed vectors (B, k), and what Closeness tells."""
    from metaem_core.models.fold_in import closeness
    from tasks.models.embeddings import in_hindsight

    mine, theirs = view(drawn["train"], True), view(drawn["cold"], False)
    fitted = {d: in_hindsight(mine, drawn["train"], d) for d in DAMPINGS}
    best = min(fitted, key=lambda d: closeness(mine.own, fitted[d])[0])
    truth = in_hindsight(theirs, drawn["cold"], best)
    for users, target, moved, fold_in in (
        ("train", mine.own, mine.transformed, closeness(mine.own, fitted[best])[0]),
        ("cold", truth, theirs.transformed, None),
    ):
        own, others = closeness(target, moved)
        row = {"count": len(target), "own": own, "others": others, "damping": best}
        yield users, (target, moved), row | {"fold_in": fold_in}


def _points(method: str, users: str, vectors: "tuple[Tensor, Tensor]", seed: int) -> pl.DataFrame:
    target, transformed = (each.numpy() for each in vectors)
    places = _embed(np.concatenate([target, transformed]), seed)
    kinds = ["target"] * len(target) + ["transformed"] * len(transformed)
    columns = {"method": method, "users": users, "kind": kinds, "x": places[:, 0]}
    return pl.DataFrame(columns | {"y": places[:, 1]})


def _embed(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """t-SNE (van der Maaten and Hinton 2008) of rows (B, k) to (B, 2)."""
    from sklearn.manifold import TSNE  # type: ignore[import-untyped]

    if len(vectors) < 4 or not vectors.var(axis=0).any():
        return np.zeros((len(vectors), 2), np.float32)  # all points are the same
    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    scaled = vectors / vectors.std()  # its distances have a floor that small vectors fall below
    places = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(scaled)
    return np.asarray(places, np.float32)
