"""The federated side's related work beside plain pretraining: errors on held-out ratings.

    python benchmarks/related.py [--seed 0]

The embedded world's music. Every line trains one domain to its best epoch on the ratings that are
left, as ``metaem run`` would, and prints the RMSE of those held out to stop by.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from metaem_core.methods.factor_config import FactorConfig
from metaem_core.methods.factorisation import Factorisation
from metaem_core.methods.metaem_pretraining import Pretraining
from metaem_core.methods.pretrain_config import PretrainConfig
from tests.worlds import planted_ratings

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    world = planted_ratings(growth=1.0)
    for name, options in PRETRAININGS.items():
        config = replace(PretrainConfig(seed=seed), **options)  # type: ignore[arg-type]
        work = Pretraining(config, world)
        for _ in work.training.epochs(lambda stats: None):
            pass
        print(f"MetaEM, {name:32s}{work.training.best_rmse:.4f}", flush=True)
    for name, options in FACTORS.items():
        factors = replace(FactorConfig(seed=seed), **options)  # type: ignore[arg-type]
        best = min(epoch.validation_rmse for epoch in Factorisation(factors, world).epochs())
        print(f"{name:40s}{best:.4f}", flush=True)


if __name__ == "__main__":
    main()
