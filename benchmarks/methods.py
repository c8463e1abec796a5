"""CPU time of the released protocol, and of one MF step by table size, beside the released code's.

    python benchmarks/methods.py [--rounds 30]

The work is that of one published measurement: TGT, CMF, EMCDR and PTUPCDR at dimension 10, ten
epochs, the same batches, cold shares of 20, 50 and 80 %, on 19,986 and 11,991 users who share
5,990 and have given 305,000 and 156,000 ratings. The released code took 456 CPU seconds for it.
Steps of all table sizes alternate, so a machine that slows down slows each; figures are medians.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.released_protocol import released_errors, released_source
from metaem_core.config.factor import FactorConfig
from metaem_core.data.pair import DomainPair, Queries
from metaem_core.data.ratings import Ratings
from metaem_core.methods.factorisation.central_steps import FactorSteps
from metaem_core.synthetic.links import Seekers, Sought, link
from metaem_core.synthetic.size import DomainSize

SOURCE, TARGET, SHARED = (
    DomainSize(19_986, 10_000, 305_000),
    DomainSize(11_991, 8_000, 156_000),
    5_990,
)
THEIR_SECONDS = 456.0
# table rows: CPU ms of their MF step at dimension 10 and 32
THEIR_STEPS = {44_000: (4.4, 9.2), 296_000: (20.5, 63.9), 1_110_000: (102.6, 472.0)}
STEPS = 100  # a round

T = TypeVar("T")


def ratings(size: DomainSize, seed: int) -> Ratings:
    """Random stars on long-tailed links: only their number costs time."""
    draw = np.random.default_rng(seed)
    tastes = [draw.standard_normal(n, dtype=np.float32) for n in (size.users, size.items)]
    seekers = Seekers(tastes[0], np.zeros((size.users, 1), dtype=np.float32))
    users, items = link(size, seekers, Sought(tastes[1], np.zeros(size.items, dtype=int)), draw)
    values = draw.integers(1, 6, len(users)).astype(np.float32)
    return Ratings(users, items, values, size.users, size.items)


def split(source: Ratings, target: Ratings, beta: float) -> tuple[DomainPair, Queries]:
    """The first users are the shared ones; of these a random share is asked."""
    tested = np.zeros(target.n_users, dtype=bool)
    tested[np.random.default_rng(0).permutation(SHARED)[: round(beta * SHARED)]] = True
    train = np.flatnonzero(~tested[:SHARED])
    asked = target.of_users(tested)
    queries = Queries(asked.users, asked.items, asked.values)
    return DomainPair(source, target.of_users(~tested), train, train), queries


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What it returns and the CPU seconds of this process."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def protocol() -> None:
    """The whole comparison, the source domain trained once."""
    source, target = ratings(SOURCE, 0), ratings(TARGET, 1)
    model, total = timed(lambda: released_source(source, 0))
    print(f"source      {total:6.1f} CPU s")
    for beta in (0.2, 0.5, 0.8):
        pair, asked = split(source, target, beta)
        _, taken = timed(lambda: released_errors(pair, asked, model, 0))  # noqa: B023
        print(f"beta {beta:.1f}    {taken:6.1f} CPU s")
        total += taken
    print(
        f"all         {total:6.1f} CPU s, theirs {THEIR_SECONDS:.0f}: "
        f"{THEIR_SECONDS / total:.1f} times less"
    )


def steps(rounds: int) -> None:
    """One step of 256 random ratings, by the rows of both tables together."""
    taken: dict[tuple[int, int], list[float]] = {}
    work = {(rows, size): stepper(rows, size) for size in (10, 32) for rows in THEIR_STEPS}
    for _ in range(rounds):
        for which, step in work.items():
            taken.setdefault(which, []).append(timed(step)[1] / STEPS * 1e3)
    print("rows        size   CPU ms a step   theirs     large / small")
    for (rows, size), times in taken.items():
        mine, small = statistics.median(times), statistics.median(taken[44_000, size])
        theirs = THEIR_STEPS[rows][size == 32]
        print(f"{rows:9,}   {size:4}   {mine:13.3f}   {theirs:6.1f}     {mine / small:.2f}")


def stepper(rows: int, size: int) -> Callable[[], None]:
    """Takes STEPS steps on a table of so many rows, half of them users."""
    draw = torch.Generator().manual_seed(0)
    half, n = rows // 2, 256 * 1000
    users, items = (torch.randint(half, (n,), generator=draw) for _ in range(2))
    work = FactorSteps(FactorConfig(size=size, l2=0.0), half, half, users, items)
    work.values = torch.randn(n, generator=draw)

    def run() -> None:
        for batch in torch.randperm(n, generator=draw)[: 256 * STEPS].split(256):
            work.step(batch)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps(options.rounds)
    protocol()


if __name__ == "__main__":
    main()
