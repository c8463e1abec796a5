"""The federated side's related work beside plain pretraining: errors on held-out ratings.

    python benchmarks/related.py [--seed 0]
    METAEM_REAL_DATA=folder python benchmarks/related.py --rows [--seeds 5]

The embedded world's music. Every line trains one domain to its best epoch on the ratings that are
left, as ``metaem run`` would, and prints the RMSE of those held out to stop by. ``--rows`` does so
for what layout ``rows`` is made of, and in real domains too where they are at hand: a line a
domain, the mean over seeds and how far each way is from plain pretraining, with its deviation.
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.newcomers import PAIRS, read
from metaem_core.config.factor import FactorConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.ratings import Ratings
from metaem_core.methods.factorisation.pretraining import Factorisation
from metaem_core.methods.metaem.pretraining import Pretraining
from tests.support.worlds import planted_ratings

PRETRAININGS: dict[str, dict[str, object]] = {
    "plain": {},
    "cohorts of 256": {"cohort_size": 256},
    "eight-bit rows": {"payload": "rows"},
    "MetaMF's shapes": {"common_size": 8, "private_size": 32},
    "FedRec, as many pseudo-items": {"pseudo_items": 1.0},
    "FedRec, three times as many": {"pseudo_items": 3.0},
    "FedFast, ten clusters": {"clusters": 10},
}
FACTORS: dict[str, dict[str, object]] = {
    "mf": {"base": "mf"},
    "FCF": {"base": "fcf"},
    "mf, four dimensions": {"base": "mf", "size": 4},
    "FCF, four dimensions": {"base": "fcf", "size": 4},
}


DOMAINS = sorted({f"{folder}/{name}" for folder, *pair in PAIRS for name in pair})


def pretrained(world: Ratings, seed: int, options: dict[str, object]) -> float:
    config = replace(PretrainConfig(seed=seed), **options)  # type: ignore[arg-type]
    work = Pretraining(config, world)
    for _ in work.training.epochs(lambda stats: None):
        pass
    return work.training.best_rmse


def rows(seeds: range) -> None:
    worlds = {"embedded music": planted_ratings(growth=1.0)}
    if "METAEM_REAL_DATA" in os.environ:
        folder = Path(os.environ["METAEM_REAL_DATA"])
        worlds |= {name: read(folder / f"{name}.parquet").ratings for name in DOMAINS}
    shares = (0.0, 0.3, 1.0, 3.0)
    print(f"{'':20s} exact, then rows with {shares} virtual ratings for each")
    for name, world in worlds.items():
        exact = [pretrained(world, seed, {}) for seed in seeds]
        line = f"{name:20s} {mean(exact):.4f}"
        for share in shares:
            options: dict[str, object] = {"payload": "rows", "pseudo_items": share}
            apart = [
                pretrained(world, s, options) / e - 1 for s, e in zip(seeds, exact, strict=True)
            ]
            line += f"  {mean(apart):+.2%} ± {stdev(apart):.2%}"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    if asked.rows:
        rows(range(asked.seeds))
        return
    seed, world = asked.seed, planted_ratings(growth=1.0)
    for name, options in PRETRAININGS.items():
        print(f"MetaEM, {name:32s}{pretrained(world, seed, options):.4f}", flush=True)
    for name, options in FACTORS.items():
        factors = replace(FactorConfig(seed=seed), **options)  # type: ignore[arg-type]
        best = min(epoch.validation_rmse for epoch in Factorisation(factors, world).epochs())
        print(f"{name:40s}{best:.4f}", flush=True)


if __name__ == "__main__":
    main()
