"""CDRIB's game-video benchmark: its own cold users, each true item among 999 random others.

    METAEM_REAL_DATA=... python -m benchmarks.cdrib [--seeds 1 2 3]

The split is CDRIB's (Cao et al. 2022): the target rows of validation and test users are hidden,
and both domains train on all other rows. Figures are in per cent, as its tables have them.
"""

import argparse
import os
from contextlib import suppress
from pathlib import Path
from statistics import fmean

import numpy as np
import polars as pl
import torch

from metaem_core.config.choice import ChoiceBaselinesConfig, ChoiceConfig, ChoiceMappingConfig
from metaem_core.data.choices import ChoicePair, Choices, Scores
from metaem_core.evaluation.lists import RankConfig, rank_sampled
from metaem_core.methods.choice_baselines.joint import TooLarge
from metaem_core.methods.choice_baselines.registry import CHOICE_BASELINES
from metaem_core.methods.metaem.choice_pretraining import ChoicePretraining
from metaem_core.methods.metaem.choice_transfer import ChoiceTransfer

DOMAINS = ("game", "video")


class Side:
    """One domain's rows by dense indices."""

    def __init__(self, folder: Path, name: str) -> None:
        self.rows = pl.read_parquet(folder / f"{name}.split.parquet")
        self.items = self.rows["item_id"].unique().sort()
        self.users = self.rows.filter(pl.col("split") == "train")["user_id"].unique().sort()

    def choices(self, split: str, users: pl.Series) -> Choices:
        """The rows of a split by ``users``, in that order."""
        rows = self.rows.filter(
            (pl.col("split") == split) & pl.col("user_id").is_in(users.implode())
        )
        owner = users.search_sorted(rows["user_id"]).to_numpy().astype(np.int64)
        item = self.items.search_sorted(rows["item_id"]).to_numpy().astype(np.int64)
        order = np.lexsort((item, owner))
        return Choices.of_pairs(owner[order], item[order], len(users), len(self.items))

    def held_out(self, split: str) -> pl.Series:
        return self.rows.filter(pl.col("split") == split)["user_id"].unique().sort()

    def at(self, users: pl.Series) -> torch.Tensor:
        return torch.from_numpy(self.users.search_sorted(users).to_numpy().astype(np.int64))


def methods(source: Side, target: Side, seed: int) -> dict[str, Scores]:
    """MetaEM and every baseline, fitted."""
    both = source.users.filter(source.users.is_in(target.users.implode()))
    known = source.choices("train", source.users), target.choices("train", target.users)
    pair = ChoicePair(*known, source.at(both), target.at(both))
    domains = []
    for side in known:
        work = ChoicePretraining(ChoiceConfig(seed=seed), side)
        for _ in work.training.epochs(lambda _: None):
            pass
        domains.append(work.model())
    transfer = ChoiceTransfer.of(ChoiceMappingConfig(), *domains)
    model = transfer.model(transfer.sums(pair))
    ours: dict[str, Scores] = {"MetaEM": model.scores_of(pair.source)}
    for name, fit in CHOICE_BASELINES.items():
        with suppress(TooLarge):
            ours[name] = fit(pair, ChoiceBaselinesConfig())
    return ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    args = parser.parse_args()
    folder = Path(os.environ["METAEM_REAL_DATA"]) / "game_video"
    sides = {name: Side(folder, name) for name in DOMAINS}
    for source, target in (DOMAINS, DOMAINS[::-1]):
        figures: dict[str, list[dict[str, float]]] = {}
        cold = sides[target].held_out("test")
        chosen = sides[target].choices("test", cold)
        for seed in args.seeds:
            config = RankConfig(f"{source}-{target}", negatives=999, seed=seed)
            fitted = methods(sides[source], sides[target], seed)
            for name, scores in fitted.items():
                measured = rank_sampled(scores, sides[source].at(cold), chosen, config)
                figures.setdefault(name, []).append(measured)
        print(f"{source} -> {target}: {len(cold)} cold users, {len(chosen)} held-out items")
        for name, seeds in figures.items():
            mrr, ndcg, hr = (100 * fmean(each[m] for each in seeds) for m in ("mrr", "ndcg", "hr"))
            print(f"  {name:24} MRR {mrr:5.2f}  NDCG@10 {ndcg:5.2f}  HR@10 {hr:5.2f}")


if __name__ == "__main__":
    main()
