"""Choices at the size of Table 2: an epoch against a sweep of implicit's ALS, and the whole job.

    pip install implicit==0.7.3
    python -m benchmarks.choice [--growth 1 0.25 0.0625] [--epochs 4]

Epochs of both alternate in one run and one process, on all cores: vectors of the same size, on the
choices of the paper's Movie domain at ``growth`` times its counts. The job is pretraining of both
domains, the mapping, and the ranking of the whole catalogue for all cold users (beta 0.2), once.
Without implicit the epoch's rival is left out.
"""

import argparse
import resource
import statistics
import time
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import scipy.sparse
import torch

from benchmarks.history import record
from metaem_core.config.choice import ChoiceConfig, ChoiceMappingConfig
from metaem_core.data.choices import ChoicePair, Choices
from metaem_core.data.ratings import Ints
from metaem_core.evaluation.lists import RankConfig, rank
from metaem_core.methods.metaem.choice_pretraining import ChoicePretraining
from metaem_core.methods.metaem.choice_transfer import ChoiceTransfer
from metaem_core.synthetic.size import Domain
from metaem_core.synthetic.world import SyntheticConfig, generate


def chosen(domain: Domain, growth: float) -> tuple[Choices, Ints]:
    """A domain's choices, and its users' numbers in the world."""
    made = generate(SyntheticConfig(scale="table2", growth=growth), domain)
    numbers, users = np.unique(made.users, return_inverse=True)
    items = int(made.items.max()) + 1
    return Choices.of_pairs(users, made.items, len(numbers), items), numbers


def epochs_beside_implicit(choices: Choices, epochs: int, size: int) -> tuple[float, float]:
    """Median seconds of an epoch, and of a sweep of implicit's ALS."""
    ours = ChoicePretraining(ChoiceConfig(size=size, epochs=epochs), choices)
    steps = ours.training.epochs(lambda _: None)
    rival = None
    if find_spec("implicit"):
        from implicit.als import AlternatingLeastSquares

        rival = AlternatingLeastSquares(
            factors=size, iterations=1, num_threads=torch.get_num_threads(), random_state=0
        )
    ones = np.ones(len(choices), np.float32)
    shape = choices.n_users, choices.n_items
    parts = ones, choices.items.numpy().astype(np.int32), choices.start.numpy().astype(np.int32)
    matrix = scipy.sparse.csr_matrix(parts, shape)
    mine, theirs = [], []
    for _ in range(epochs):
        started = time.perf_counter()
        next(steps)
        mine.append(time.perf_counter() - started)
        started = time.perf_counter()
        if rival is not None:
            rival.fit(matrix, show_progress=False)
        theirs.append(time.perf_counter() - started)
    return statistics.median(mine[1:]), statistics.median(theirs[1:]) if rival else float("nan")


def job(growth: float) -> dict[str, float]:
    """Seconds of each part, and the most memory."""
    (source, in_source), (target, in_target) = (chosen(name, growth) for name in ("movie", "music"))
    shared, mine, theirs = np.intersect1d(in_source, in_target, return_indices=True)
    draw = np.random.default_rng(1).permutation(len(shared))
    n_cold, n_validation = round(0.2 * len(shared)), round(0.08 * len(shared))
    cold, validation, train = np.split(draw, [n_cold, n_cold + n_validation])
    held = np.zeros(target.n_users, bool)
    held[theirs[np.concatenate([cold, validation])]] = True
    rows = ~held[target.owner.numpy()]
    owner, items = target.owner.numpy()[rows], target.items.numpy()[rows]
    known = Choices.of_pairs(owner, items, target.n_users, target.n_items)
    at = {name: torch.from_numpy(index) for name, index in (("mine", mine), ("theirs", theirs))}
    seconds = {}
    started = time.perf_counter()
    domains, config = [], ChoiceConfig()
    # as a run does: the target trains no leading directions
    for side, of_side in ((source, config), (known, replace(config, leading=0))):
        work = ChoicePretraining(of_side, side)
        for _ in work.training.epochs(lambda _: None):
            pass
        domains.append(work.model())
    seconds["pretraining"] = time.perf_counter() - started
    started = time.perf_counter()
    pair = ChoicePair(source, known, at["mine"][train], at["theirs"][train])
    transfer = ChoiceTransfer.of(ChoiceMappingConfig(), *domains)
    model = transfer.model(transfer.sums(pair))
    seconds["mapping"] = time.perf_counter() - started
    started = time.perf_counter()
    relevant = {"chosen": target.of_users(at["theirs"][cold])}
    lists = rank(
        model.scores_of(source),
        at["mine"][cold],
        relevant,
        RankConfig("movie-music"),
    )
    seconds["ranking"] = time.perf_counter() - started
    seconds["all"] = sum(seconds.values())
    seconds["cold_users"] = len(cold)
    seconds["ndcg_at_10"] = float(lists.measures["chosen"]["ndcg"].mean())
    seconds["gigabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--growth", type=float, nargs="+", default=[1.0, 0.25, 0.0625])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--size", type=int, default=32)
    args = parser.parse_args()
    for growth in args.growth:
        seconds = job(growth)
        print(f"growth {growth:g}:", ", ".join(f"{n} {v:.3g}" for n, v in seconds.items()))
        choices, _ = chosen("movie", growth)
        mine, theirs = epochs_beside_implicit(choices, args.epochs, args.size)
        ratio = mine / theirs
        print(
            f"  {len(choices):,} choices: epoch {mine:.2f} s, implicit {theirs:.2f} s, "
            f"ratio {ratio:.2f}"
        )
        record("choice", growth=growth, epoch=mine, implicit=theirs, **seconds)


if __name__ == "__main__":
    main()
