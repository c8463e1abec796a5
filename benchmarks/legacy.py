"""What PTUPCDR's released code prints on real ratings, and what its protocol gives here.

    METAEM_REAL_DATA=folder python benchmarks/legacy.py [--seeds 1,2,3]

``folder`` holds ``epinions/{movies,music}.parquet`` and ``amazon_dense/{books,movies}.parquet``
with columns user_id, item_id, rating. The protocol is in ``released_protocol.py``: it picks the
best epoch on the test users; nothing else is measured so. For every method and cell: our mean over
the seeds, their mean over three, and how far ours is from it in their deviations, and in those of
both together (z).
"""

import argparse
import os
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.released_protocol import released_errors, released_source
from metaem_core.data.filtering import peel
from metaem_core.data.pair import DomainPair, Queries
from metaem_core.data.ratings import Ratings
from metaem_core.training.epochs import Errors

COUNTS = tuple[int, int, int]  # users of source and target, shared users


@dataclass(frozen=True)
class Pair:
    """A pair of domains as measured: every user and item has at least ``core`` ratings."""

    source: str
    target: str
    core: int
    counts: COUNTS


PAIRS = {
    "epinions": Pair("movies", "music", 3, (8_141, 3_618, 2_110)),
    "amazon_dense": Pair("books", "movies", 1, (1_426, 1_381, 1_329)),
}
# MAE, its deviation, RMSE, its deviation of three runs of the released code, by beta
THEIRS: dict[str, dict[str, dict[float, tuple[float, float, float, float]]]] = {
    "epinions": {
        "tgt": {
            0.2: (4.404, 0.054, 5.166, 0.062),
            0.5: (4.451, 0.042, 5.229, 0.053),
            0.8: (4.454, 0.025, 5.237, 0.035),
        },
        "cmf": {
            0.2: (2.701, 0.025, 3.577, 0.018),
            0.5: (3.163, 0.233, 4.080, 0.270),
            0.8: (3.852, 0.164, 4.745, 0.157),
        },
        "emcdr": {
            0.2: (3.883, 0.017, 4.060, 0.023),
            0.5: (4.040, 0.045, 4.193, 0.038),
            0.8: (4.063, 0.010, 4.240, 0.024),
        },
        "ptupcdr": {
            0.2: (3.239, 0.115, 3.890, 0.115),
            0.5: (3.671, 0.155, 4.159, 0.120),
            0.8: (3.895, 0.102, 4.347, 0.114),
        },
    },
    "amazon_dense": {
        "tgt": {
            0.2: (4.207, 0.112, 4.916, 0.095),
            0.5: (4.277, 0.036, 5.005, 0.017),
            0.8: (4.344, 0.032, 5.103, 0.038),
        },
        "cmf": {
            0.2: (1.759, 0.123, 2.324, 0.154),
            0.5: (2.053, 0.093, 2.700, 0.097),
            0.8: (2.871, 0.079, 3.675, 0.092),
        },
        "emcdr": {
            0.2: (1.554, 0.068, 1.931, 0.063),
            0.5: (1.812, 0.059, 2.160, 0.058),
            0.8: (3.112, 0.181, 3.380, 0.160),
        },
        "ptupcdr": {
            0.2: (1.006, 0.057, 1.369, 0.074),
            0.5: (1.056, 0.035, 1.425, 0.066),
            0.8: (2.077, 0.190, 2.634, 0.215),
        },
    },
}


def read_domain(path: Path, core: int) -> tuple[Ratings, list[str]]:
    """The ratings of a k-core, and its user ids in the indices' order."""
    frame = pl.read_parquet(path).unique(["user_id", "item_id"], maintain_order=True)
    codes = [frame[c].rank("dense").to_numpy().astype(np.int64) - 1 for c in ("user_id", "item_id")]
    *_, rows = peel(*codes, core)
    frame = frame[rows].sort("user_id", "item_id")
    users, items = (
        frame[c].rank("dense").to_numpy().astype(np.int64) - 1 for c in ("user_id", "item_id")
    )
    values = frame["rating"].to_numpy().astype(np.float32)
    names = frame["user_id"].unique().sort().to_list()
    return Ratings(users, items, values, len(names), int(items.max()) + 1), names


def split(
    domains: list[tuple[Ratings, list[str]]], beta: float, seed: int
) -> tuple[DomainPair, Queries]:
    """Test users are drawn from the shared ones; there are no validation users."""
    (source, source_names), (target, target_names) = domains
    shared, mine, theirs = np.intersect1d(source_names, target_names, return_indices=True)
    draw = np.random.default_rng([seed, round(100 * beta)])
    tested = np.zeros(len(shared), dtype=bool)
    tested[draw.permutation(len(shared))[: round(beta * len(shared))]] = True
    source_of = np.full(target.n_users, -1)
    source_of[theirs[tested]] = mine[tested]
    asked = target.of_users(source_of >= 0)
    pair = DomainPair(source, target.of_users(source_of < 0), mine[~tested], theirs[~tested])
    return pair, Queries(source_of[asked.users], asked.items, asked.values)


def measure(
    domains: list[tuple[Ratings, list[str]]], seeds: list[int]
) -> dict[tuple[str, float], list[Errors]]:
    """The errors of every method and beta, one entry a seed."""
    found: dict[tuple[str, float], list[Errors]] = defaultdict(list)
    for seed in seeds:
        source = released_source(domains[0][0], seed)
        for beta in (0.2, 0.5, 0.8):
            for method, errors in released_errors(
                *split(domains, beta, seed), source, seed
            ).items():
                found[method, beta].append(errors)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("METAEM_REAL_DATA"))
    parser.add_argument("--seeds", default="1,2,3")
    options = parser.parse_args()
    if options.data is None:
        parser.error("say where the ratings are: --data or METAEM_REAL_DATA")
    torch.set_num_threads(1)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    near = compared = 0
    print("set          beta method  metric  ours (sd)        theirs (sd)      theirs' sd      z")
    for name, pair in PAIRS.items():
        files = [Path(options.data) / name / f"{d}.parquet" for d in (pair.source, pair.target)]
        domains = [read_domain(file, pair.core) for file in files]
        shared = len(set(domains[0][1]) & set(domains[1][1]))
        counts = domains[0][0].n_users, domains[1][0].n_users, shared
        assert counts == pair.counts, f"{name} has {counts} users, measured were {pair.counts}"
        for (method, beta), errors in measure(domains, seeds).items():
            theirs = THEIRS[name][method][beta]
            for metric, values, mean, sd in (
                ("MAE", [e.mae for e in errors], *theirs[:2]),
                ("RMSE", [e.rmse for e in errors], *theirs[2:]),
            ):
                ours, own = np.mean(values), np.std(values, ddof=1)
                away, z = (ours - mean) / sd, (ours - mean) / np.hypot(sd, own)
                near, compared = near + (abs(away) <= 3), compared + 1
                print(
                    f"{name:12} {beta:.1f}  {method:8} {metric:5} {ours:6.3f} ({own:.3f})   "
                    f"{mean:6.3f} ({sd:.3f})  {away:+9.1f}  {z:+7.1f}"
                    f"{'' if abs(away) <= 3 else '   more than 3'}"
                )
    print(f"{near} of {compared} within three of their deviations")


if __name__ == "__main__":
    main()
