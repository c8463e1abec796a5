"""What a user loses by being new to the source: fold-in against having been trained on.

    METAEM_REAL_DATA=folder python benchmarks/newcomers.py [--seeds 3] [--beta 0.2]

Five real pairs. Cold users' target ratings are predicted with the vector of their trained row, with
the vector that their history alone gives in that same model, and with the latter in a source that
was trained without any rating of theirs. RMSE and MAE, clipped to 1-5; bias transfer beside them.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import polars as pl
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from metaem_core.config.mapping import MappingConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.bias import fitted_biases
from metaem_core.data.pair import DomainPair
from metaem_core.data.ratings import Ratings, RatingScale
from metaem_core.data.splitting import SplitConfig, split_overlap
from metaem_core.data.user_profile import ProfileStatistics
from metaem_core.methods.baselines.trivial import bias_transfer
from metaem_core.methods.metaem.cold_start import cold_predictor
from metaem_core.methods.metaem.mapping import MappingTraining
from metaem_core.methods.metaem.pretraining import Pretraining
from metaem_core.models.mapping import map_users
from metaem_core.models.metaem import DomainModel
from metaem_core.models.recommender import Recommender
from tasks.models.data import Domain, Split, SplitPair
from tasks.sources.files import Files
from tasks.sources.read import read_ratings

PAIRS = [
    ("epinions", "movies", "music"),
    ("epinions", "books", "movies"),
    ("epinions", "books", "music"),
    ("amazon_dense", "movies", "books"),
    ("amazon_dense", "books", "movies"),
]


def read(path: Path) -> Domain:
    read = read_ratings(path, Files().layout(path), RatingScale())
    columns = (read.ratings[name].to_numpy() for name in ("user", "item", "rating"))
    users, items, values = columns
    sizes = len(read.users), len(read.items)
    ratings = Ratings(users.astype(np.int64), items.astype(np.int64), values.copy(), *sizes)
    return Domain(ratings, read.users["user_id"], read.items["item_id"])


def trained(ratings: Ratings, seed: int) -> DomainModel:
    stage = Pretraining(PretrainConfig(seed=seed), ratings)
    for _ in stage.training.epochs(lambda _: None):
        pass
    return stage.model()


def cell(parts: SplitPair, seed: int) -> dict[str, tuple[float, float]]:
    """MAE and RMSE of each way to a vector."""
    pair, cold = parts.pair, parts.held_out(parts.roles.cold)
    target = trained(pair.target, seed)
    rated = {"bias transfer": bias_transfer(pair)}
    newcomer = np.zeros(pair.source.n_users, np.bool_)
    newcomer[parts.source.users(parts.roles.cold)] = True
    for who, source in (("", pair.source), (", never seen", pair.source.of_users(~newcomer))):
        model = trained(source, seed)
        vectors = model.source_vectors(torch.arange(source.n_users))
        config = MappingConfig(seed=seed)
        known = DomainPair(source, pair.target, pair.train_source, pair.train_target)
        tried = [
            MappingTraining(
                config, rate, vectors, target, known, parts.held_out(parts.roles.validation)
            )
            for rate in config.learning_rates
        ]
        for each in tried:
            for _ in each.training.epochs(lambda _: None):
                pass
        mapping = min(tried, key=lambda each: each.training.best_rmse).mapping()
        statistics = ProfileStatistics.of(source, fitted_biases(source))
        made = Recommender(model, statistics, target, mapping, PretrainConfig().table_l2)
        folded = made.target_vectors(pair.source)
        if not who:
            own = map_users(mapping, vectors)
            rated["trained row"] = cold_predictor(own.__getitem__, target)
        rated[f"history{who}"] = cold_predictor(folded.__getitem__, target)
    errors = {
        name: np.clip(rate(cold.users, cold.items), 1, 5) - cold.values
        for name, rate in rated.items()
    }
    return {
        name: (float(np.abs(error).mean()), float(np.sqrt((error**2).mean())))
        for name, error in errors.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("METAEM_REAL_DATA"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--beta", type=float, default=0.2)
    options = parser.parse_args()
    if options.data is None:
        parser.error("say where the ratings are: --data or METAEM_REAL_DATA")
    found: dict[str, list[tuple[float, float]]] = {}
    for name, *pair in PAIRS:
        source, target = (read(Path(options.data) / name / f"{each}.parquet") for each in pair)
        both = source.user_ids.filter(source.user_ids.is_in(target.user_ids.implode()))
        for seed in range(1, options.seeds + 1):
            split = split_overlap(both, SplitConfig(options.beta, 0.1, seed))
            users = (split.train, split.validation, split.cold)
            roles = Split(*(pl.Series(sorted(each)) for each in users))
            scores = cell(SplitPair(source, target, roles), seed)
            told = ", ".join(f"{how} {mae:.4f} / {rmse:.4f}" for how, (mae, rmse) in scores.items())
            print(f"{name} {pair[0]} -> {pair[1]}, seed {seed}: {told}", flush=True)
            for how, score in scores.items():
                found.setdefault(how, []).append(score)
    for how, scores in found.items():
        print(f"{how:20} MAE {np.mean([s[0] for s in scores]):.4f}", end="")
        print(f"  RMSE {np.mean([s[1] for s in scores]):.4f}")


if __name__ == "__main__":
    main()
