"""Simulated devices by the million: what each costs in memory, and rounds a second.

    python benchmarks/devices.py [--devices 250000 1000000] [--rounds 20]

Each size is a process of its own: so many users with five to nine ratings of 20,000 items, MetaEM's
pretraining set up as in a run, and rounds of 1,024 devices. Ratings are counted as the arrays that
hold them (20 bytes each), embeddings as U and its best epoch (256 bytes a user). What memory grows
by beyond those from one size to the next is what the simulation itself keeps for a device.
"""

import argparse
import json
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import psutil

ITEMS, LEAST, MOST = 20_000, 5, 9


def simulate(devices: int, rounds: int) -> dict[str, float]:
    """One size, in this process."""
    import torch

    from metaem_core.config.pretrain import PretrainConfig
    from metaem_core.data.ratings import Ratings
    from metaem_core.federated.rounds import cohorts
    from metaem_core.methods.metaem.pretraining import Pretraining

    torch.set_num_threads(2)
    draw = np.random.default_rng(0)
    counts = draw.integers(LEAST, MOST + 1, devices)
    users = np.repeat(np.arange(devices), counts)
    items = (ITEMS * draw.random(len(users)) ** 2).astype(np.int64)
    pairs = np.unique(users * ITEMS + items)
    values = draw.integers(1, 6, len(pairs)).astype(np.float32)
    ratings = Ratings(pairs // ITEMS, pairs % ITEMS, values, devices, ITEMS)
    held = sum(part.nbytes for part in (ratings.users, ratings.items, ratings.values))
    del users, items, pairs, values, counts
    before = psutil.Process().memory_info().rss
    config = PretrainConfig()
    training = Pretraining(config, ratings).training
    order = cohorts(training.users, config.cohort_size, torch.Generator().manual_seed(1))
    training.rounds.round(order[0])
    begin = time.perf_counter()
    for cohort in order[1 : rounds + 1]:
        training.rounds.round(cohort)
    seconds = (time.perf_counter() - begin) / rounds
    memory = psutil.Process().memory_info()
    return {
        "devices": devices,
        "rss": memory.rss,
        "before": before,
        "ratings": held,
        "embeddings": 2 * 4 * config.user_size * devices,
        "rounds": 1 / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--devices", type=int, nargs="+", default=[250_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(simulate(options.one, options.rounds)))
        return
    command = [sys.executable, __file__, "--rounds", str(options.rounds), "--one"]
    found = []
    for devices in options.devices:
        done = subprocess.run([*command, str(devices)], check=True, capture_output=True)
        found.append(json.loads(done.stdout))
        one = found[-1]
        print(
            f"{devices:>9,} devices: {one['rss'] / 1e6:,.0f} MB, ratings "
            f"{one['ratings'] / 1e6:,.0f} MB, embeddings {one['embeddings'] / 1e6:,.0f} MB, "
            f"{one['rounds']:.1f} rounds/s, {1024 * one['rounds']:,.0f} devices/s"
        )
    for small, large in pairwise(found):
        grown = large["rss"] - small["rss"]
        known = sum(large[part] - small[part] for part in ("ratings", "embeddings"))
        more = large["devices"] - small["devices"]
        print(f"beyond ratings and embeddings: {(grown - known) / more:.0f} bytes a device")


if __name__ == "__main__":
    main()
