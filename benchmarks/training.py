"""Pretraining throughput against bare matrix products of the same shapes, in the same run.

    python -m benchmarks.training [--threads 1 2] [--cohorts 256 1024] [--blocks 10]

One round is a download, a cohort step, an upload and the optimisers' step at the size of Table 2's
Movie domain; the first cohort is the paper's, the second the default. The baseline multiplies
matrices of exactly the shapes that a round's forward and backward pass need (Eqs. 2, 4, 5 and 6)
and does nothing else. Blocks of rounds of both alternate, so a machine that slows down slows both;
within a block each finds the caches as it left them. The figures are medians over blocks.

The last lines are of two trainings side by side on one thread each, as ``metaem run`` trains a
source and a target on two cores; the baseline multiplies side by side too.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise, product
from threading import Barrier, Thread

import numpy as np
import torch

from benchmarks.history import record
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.ratings import Ratings
from metaem_core.federated.rounds import SimulatedRounds, cohorts
from metaem_core.methods.metaem.pretraining import Pretraining

USERS, ITEMS = 123_960, 50_052
ITEMS_PER_USER = 1_697_533 / USERS
BLOCK = 10  # rounds


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


def measure(
    ratings: Ratings, cohort: int, blocks: int, together: Barrier | None = None
) -> tuple[float, float, float]:
    """Medians over blocks: ratings of a round, seconds of a round and of its bare products."""
    wait = together.wait if together else lambda: 0
    config = PretrainConfig(epochs=1, cohort_size=cohort)
    stage = Pretraining(config, ratings)
    server, backend = stage.training.rounds.server, stage.training.rounds.backend
    order = cohorts(stage.training.users, config.cohort_size, torch.Generator().manual_seed(1))
    if (most := len(order) // BLOCK - 1) < blocks:
        raise SystemExit(f"an epoch has rounds for {most} blocks of cohorts of {cohort}")
    sizes, ours, bare = [], [], []
    for block in range(blocks + 1):
        chosen = order[block * BLOCK : (block + 1) * BLOCK]
        wait()
        begin = time.perf_counter()
        done = [SimulatedRounds(server, backend).round(cohort) for cohort in chosen]
        ours.append((time.perf_counter() - begin) / BLOCK)
        sizes.append(sum(stats.n_ratings for stats in done) / BLOCK)
        multiply = bare_products(config, round(sizes[-1]), config.cohort_size)
        multiply()
        wait()
        begin = time.perf_counter()
        for _ in range(BLOCK):
            multiply()
        bare.append((time.perf_counter() - begin) / BLOCK)
    return tuple(statistics.median(x[1:]) for x in (sizes, ours, bare))  # type: ignore[return-value]


def side_by_side(ratings: Ratings, cohort: int, blocks: int) -> tuple[float, float, float]:
    """:func:`measure` of two trainings at once; ratings of both."""
    together, found = Barrier(2), []
    threads = [
        Thread(target=lambda: found.append(measure(ratings, cohort, blocks, together)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (size, ours, bare), (size_2, ours_2, bare_2) = found
    return size + size_2, (ours + ours_2) / 2, (bare + bare_2) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cohorts", type=int, nargs="+", default=[256, PretrainConfig.cohort_size])
    parser.add_argument("--blocks", type=int, default=10)
    options = parser.parse_args()
    ratings = long_tailed(USERS, ITEMS, seed=0)
    print(f"{len(ratings):,} ratings of {USERS:,} users on {ITEMS:,} items")
    print(
        "cohort  threads  ratings/round  round ms  products ms  ratings/s  share of bare products"
    )

    def show(cohort: int, threads: str, found: tuple[float, float, float]) -> None:
        size, ours, bare = found
        print(
            f"{cohort:6d}  {threads:>7s}  {size:13.0f}  {ours * 1e3:8.1f}  {bare * 1e3:11.1f}  "
            f"{size / ours:9,.0f}  {bare / ours:22.0%}",
            flush=True,
        )
        record("training", cohort=cohort, threads=threads, rate=size / ours, share=bare / ours)

    for cohort, threads in product(options.cohorts, options.threads):
        torch.set_num_threads(threads)
        show(cohort, str(threads), measure(ratings, cohort, options.blocks))
    torch.set_num_threads(1)
    for cohort in options.cohorts:
        show(cohort, "1 + 1", side_by_side(ratings, cohort, options.blocks))


if __name__ == "__main__":
    main()
