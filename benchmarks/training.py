"""Pretraining throughput against bare matrix products of the same shapes, in the same run.

    python benchmarks/training.py [--threads 1 2] [--rounds 60] [--users 123960]

One round is a download, a cohort step, an upload and the optimisers' step at the size of Table 2's
Movie domain. The rival multiplies matrices of exactly the shapes that a round's forward and
backward pass need (Eqs. 2, 4, 5 and 6) and does nothing else. Rounds of both alternate, so a
machine that slows down slows both; the figures are medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch

from metaem_core.federated.rounds import cohorts, run_round
from metaem_core.methods.metaem_pretraining import Pretraining
from metaem_core.methods.pretrain_config import PretrainConfig
from metaem_core.ratings import Ratings

ITEMS_PER_USER = 1_697_533 / 123_960


def long_tailed(users: int, items: int, seed: int) -> Ratings:
    """Ratings with Amazon-like activity and popularity."""
    draw = np.random.default_rng(seed)
    counts = 5 + draw.geometric(1 / (ITEMS_PER_USER - 4), users) - 1
    owner = np.repeat(np.arange(users), counts)
    rank = (items * draw.random(len(owner)) ** 2.5).astype(np.int64)
    pairs = np.unique(owner * items + rank)
    values = draw.integers(1, 6, len(pairs)).astype(np.float32)
    return Ratings(pairs // items, pairs % items, values, users, items)


def layer_shapes(rows: int, widths: list[int]) -> list[tuple[int, int, int]]:
    """Forward, input gradient and weight gradient of each layer as (m, k, n)."""
    shapes = []
    for a, b in pairwise(widths):
        shapes += [(rows, a, b), (rows, b, a), (b, rows, a)]
    return shapes


def bare_products(config: PretrainConfig, ratings: int, users: int) -> Callable[[], None]:
    """The matrix products of one round, on buffers made beforehand."""
    k, p, h = config.common_size, config.private_size, config.hidden_size
    shapes = layer_shapes(ratings, [p, h, h, k])
    shapes += layer_shapes(users, [k, h, h, k]) + layer_shapes(users, [k, h, h, k * p])
    plain = [(torch.randn(m, i), torch.randn(i, n), torch.empty(m, n)) for m, i, n in shapes]
    each = -(-ratings // users)
    private = [(each, k, p), (each, p, k), (k, each, p)]  # Eq. 2: one small product a user
    batched = [
        (torch.randn(users, m, i), torch.randn(users, i, n), torch.empty(users, m, n))
        for m, i, n in private
    ]

    def multiply() -> None:
        for a, b, out in plain:
            torch.mm(a, b, out=out)
        for a, b, out in batched:
            torch.bmm(a, b, out=out)

    return multiply


def measure(ratings: Ratings, threads: int, rounds: int) -> tuple[float, float, float]:
    """Median ratings, seconds a round and seconds of the bare products."""
    torch.set_num_threads(threads)
    config = PretrainConfig(epochs=1)
    stage = Pretraining(config, ratings)
    server, backend = stage.training.server, stage.training.backend
    order = cohorts(stage.training.users, config.cohort_size, torch.Generator().manual_seed(1))
    sizes, ours, bare = [], [], []
    for cohort in order[: rounds + 5]:
        start = time.perf_counter()
        done = run_round(server, backend, cohort)
        middle = time.perf_counter()
        multiply = bare_products(config, done.n_ratings, len(cohort))
        multiply()
        begin = time.perf_counter()
        multiply()
        bare.append(time.perf_counter() - begin)
        ours.append(middle - start)
        sizes.append(done.n_ratings)
    return tuple(statistics.median(x[5:]) for x in (sizes, ours, bare))  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--users", type=int, default=123_960)
    options = parser.parse_args()
    ratings = long_tailed(options.users, 50_052, seed=0)
    print(f"{len(ratings):,} ratings of {options.users:,} users on 50,052 items")
    print("threads  ratings/round  round ms  products ms  ratings/s  share of bare products")
    for threads in options.threads:
        size, ours, bare = measure(ratings, threads, options.rounds)
        print(
            f"{threads:7d}  {size:13.0f}  {ours * 1e3:8.1f}  {bare * 1e3:11.1f}  "
            f"{size / ours:9,.0f}  {bare / ours:22.0%}"
        )


if __name__ == "__main__":
    main()
