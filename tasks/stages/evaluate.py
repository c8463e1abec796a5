"""Every method's predictions for the cold users, and what they are worth."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from data_contracts.evaluation import (
    GROUPINGS,
    Calibration,
    ExperimentCurves,
    GroupErrors,
    Predictions,
    Scores,
    UserErrors,
)
from metaem_core.data.pair import DomainPair, Predict, Queries
from metaem_core.data.ratings import Floats, above_middle
from metaem_core.evaluation.distribution import Spread, calibration
from metaem_core.evaluation.metrics import GROUPS, Doubles, group_errors, group_of, user_errors
from metaem_core.evaluation.scores import (
    EvaluateConfig,
    clip,
    rating_scores,
)
from tasks.models.data import Domain, read_pair
from tasks.models.evaluated_cell import write_cell
from tasks.models.method_id import MethodId, write_methods
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import stage

if TYPE_CHECKING:
    from tasks.models.factors import ColdRatings


@stage("evaluate")
def evaluate(
    store: Store,
    config: EvaluateConfig,
    source: ArtifactRef,
    target: ArtifactRef,
    split: ArtifactRef,
    source_model: ArtifactRef,
    target_model: ArtifactRef,
    mapping: ArtifactRef,
    other_methods: list[ArtifactRef],
) -> ArtifactRef:
    """Predict the cold users' target ratings with every method and score the predictions."""
    # torch is imported only by runs that predict
    from metaem_core.methods.baselines.trivial import TRIVIAL
    from tasks.models.predictors import metaem, read_others

    data = read_pair(store, source, target, split)
    source_domain, target_domain, roles = data
    pair, queries = data.pair, data.held_out(roles.cold)
    others = read_others(store, other_methods, source_domain)
    trained = [metaem(store, source_model, target_model, mapping), *others]
    methods = [*map(MethodId, TRIVIAL), *(each.method for each in trained)]
    predictors = {name: fit(pair) for name, fit in TRIVIAL.items()} | _named(trained)
    predicted = {name: rate(queries.users, queries.items) for name, rate in predictors.items()}
    with store.draft() as draft:
        predictions = _predictions(predicted, queries, source_domain, target_domain)
        draft.write_frame("predictions.parquet", predictions, Predictions)
        spread = Spread.of(pair.target.values, config.scale)
        scores = _scores(config, predicted, queries, spread)
        draft.write_frame("scores.parquet", scores, Scores)
        clipped = {name: clip(values, config.scale) for name, values in predicted.items()}
        chances = {name: spread.around(values) for name, values in clipped.items()}
        errors = _user_errors(clipped, chances, spread, queries, source_domain)
        draft.write_frame("user_errors.parquet", errors, UserErrors)
        liked = {name: spread.above_middle(each) for name, each in chances.items()}
        curve = _calibration(liked, above_middle(queries.values, config.scale))
        draft.write_frame("calibration.parquet", Calibration.cast(curve), Calibration)
        groups = _group_errors(clipped, queries, pair)
        draft.write_frame("groups.parquet", GroupErrors.cast(groups), GroupErrors)
        models = {"source": source_model, "target": target_model, "mapping": mapping}
        models |= {each.method.name: ref for each, ref in zip(others, other_methods, strict=True)}
        draft.write_frame("curves.parquet", _curves(store, models), ExperimentCurves)
        write_cell(draft, store, config.task, split)
        write_methods(draft, methods)
    return draft.ref


def _named(trained: "Iterable[ColdRatings]") -> dict[str, Predict]:
    by_name: dict[str, Predict] = {}
    for each in trained:
        if (name := each.method.name) in by_name:
            raise ValueError(f"two models are called {name!r}")
        by_name[name] = each.predict
    return by_name


def _predictions(
    predicted: Mapping[str, Floats], queries: Queries, source: Domain, target: Domain
) -> pl.DataFrame:
    users = source.user_ids.gather(queries.users)
    items = target.item_ids.gather(queries.items)
    known = pl.DataFrame({"user_id": users, "item_id": items, "rating": queries.values})
    return pl.concat(
        known.select(pl.lit(name).alias("method"), pl.all(), pl.Series("prediction", values))
        for name, values in predicted.items()
    )


def _scores(
    config: EvaluateConfig, predicted: Mapping[str, Floats], queries: Queries, spread: Spread
) -> pl.DataFrame:
    rows = [
        (name, metric, value)
        for name, values in predicted.items()
        for metric, value in rating_scores(values, queries, config.scale, spread).items()
    ]
    schema = {"method": pl.String, "metric": pl.String, "value": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _user_errors(
    clipped: Mapping[str, Floats],
    chances: Mapping[str, Doubles],
    spread: Spread,
    queries: Queries,
    source: Domain,
) -> pl.DataFrame:
    frames = []
    for name, values in clipped.items():
        errors = user_errors(queries.users, values, queries.values)
        medians = spread.medians(chances[name])
        frame = {
            "method": [name] * len(errors.users),
            "user_id": source.user_ids.gather(errors.users),
            "ratings": pl.Series(errors.counts, dtype=pl.UInt32),
            "mae": errors.mae,
            "mse": errors.mse,
            "median_mae": user_errors(queries.users, medians, queries.values).mae,
        }
        frames.append(pl.DataFrame(frame))
    return pl.concat(frames)


def _calibration(chances: Mapping[str, Doubles], liked: NDArray[np.bool_]) -> pl.DataFrame:
    frames = []
    for name, each in chances.items():
        counted, expected, happened = calibration(each, liked)
        rows = {"ratings": counted, "expected": expected, "liked": happened}
        frames.append(pl.DataFrame({"method": name, "tenth": np.arange(len(counted)), **rows}))
    return pl.concat(frames).filter(pl.col("ratings") > 0)


def _group_errors(
    clipped: Mapping[str, Floats], queries: Queries, pair: DomainPair
) -> pl.DataFrame:
    history = np.bincount(pair.source.users, minlength=pair.source.n_users)[queries.users]
    popularity = np.bincount(pair.target.items, minlength=pair.target.n_items)[queries.items]
    frames = []
    for name, values in clipped.items():
        for grouping, counts in zip(GROUPINGS, (history, popularity), strict=True):
            summed = group_errors(group_of(counts), queries.users, values, queries.values)
            keys = {"method": name, "grouping": grouping, "group": GROUPS}
            frames.append(pl.DataFrame(keys | summed).filter(pl.col("ratings") > 0))
    return pl.concat(frames)


def _curves(store: Store, models: Mapping[str, ArtifactRef]) -> pl.DataFrame:
    return pl.concat(
        store.read_frame(model, "curve.parquet").select(pl.lit(name).alias("stage"), pl.all())
        for name, model in models.items()
    )
