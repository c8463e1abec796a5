"""What sums over cohorts tell at Table 2's sizes, round by round and over a whole training.

    python benchmarks/sums.py [--domain music] [--cohorts 1024 4096 16384] [--epochs 1 10 30]

A server of secure rounds sees which rows of the item table a cohort's sum touches, and it knows who
was in the cohort. Of one user it keeps the items that were touched in every round with that user,
and takes the more popular of them to be rated. Prints the AUC of that guess, and how many items are
left; popularity alone is the guess of someone who sees no sum.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from metaem_core.privacy.attacks.reconstruction import auc
from metaem_core.synthetic.world import SyntheticConfig, generate

USERS = 100  # that are looked at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--domain", default="music")
    parser.add_argument("--cohorts", type=int, nargs="+", default=[1024, 4096, 16384])
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 10, 30])
    options = parser.parse_args()
    drawn = generate(SyntheticConfig(scale="table2"), options.domain)
    persons, users = np.unique(drawn.users, return_inverse=True)
    _, items = np.unique(drawn.items, return_inverse=True)
    items = items[np.argsort(users, kind="stable")]
    start = np.concatenate([[0], np.cumsum(np.bincount(users))])
    n, counts = items.max() + 1, np.bincount(items)
    draw = np.random.default_rng(0)
    watched = draw.choice(len(persons), USERS, replace=False)
    own = [items[start[u] : start[u + 1]] for u in watched]
    alone = np.mean([auc(counts.astype(float), mine) for mine in own])
    print(f"{options.domain}: {n:,} items; popularity alone: AUC {alone:.3f}")
    for size in options.cohorts:
        left = np.ones((USERS, n), np.bool_)
        for epoch in range(1, max(options.epochs) + 1):
            place = draw.permutation(len(persons)) // size  # the cohort of each user
            for cohort in np.unique(place[watched]):
                members = np.flatnonzero(place == cohort)
                touched = np.zeros(n, np.bool_)
                touched[np.concatenate([items[start[u] : start[u + 1]] for u in members])] = True
                left[place[watched] == cohort] &= touched
            if epoch in options.epochs:
                areas = [auc(counts * some, mine) for some, mine in zip(left, own, strict=True)]
                print(
                    f"cohorts of {size:>6,}, {epoch:>2} epochs: AUC {np.mean(areas):.3f}, "
                    f"{left.sum(1).mean():,.0f} items left"
                )


if __name__ == "__main__":
    main()
