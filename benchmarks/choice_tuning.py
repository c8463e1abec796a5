"""Settings of everything that ranks by choice: twelve each, judged by validation users.

    METAEM_REAL_DATA=folder python benchmarks/choice_tuning.py [--methods ease] [--betas 0.5]

Five real pairs at each beta. No cold user is looked at; 30 % of the other shared users
validate (a run keeps 10 %, too few to tell settings apart). Prints the mean over cells of
NDCG@10 for every setting.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import polars as pl
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.newcomers import PAIRS, read
from metaem_core.config.choice import (
    ChoiceBaselinesConfig,
    ChoiceBlendConfig,
    ChoiceConfig,
    ChoiceMappingConfig,
    EaseConfig,
    EmcdrIalsConfig,
    IalsConfig,
    ItemKnnConfig,
    UserKnnConfig,
)
from metaem_core.data.choices import ChoicePair, Choices, Scores
from metaem_core.data.splitting import SplitConfig, split_overlap
from metaem_core.evaluation.ranking import ndcg_at_k, place_at
from metaem_core.methods.choice_baselines.popularity import popularity
from metaem_core.methods.choice_baselines.registry import CHOICE_BASELINES
from metaem_core.methods.metaem.choice_pretraining import ChoicePretraining
from metaem_core.methods.metaem.choice_transfer import ChoiceTransfer
from metaem_core.models.choice import ChoiceDomain
from tasks.models.data import Split, SplitPair

T = TypeVar("T")
VALIDATION = 0.3
SIZES, UNOBSERVED, L2 = (8, 16, 32), (0.1, 0.3), (0.003, 0.03)


def half(*pairs: tuple[float, float]) -> list[tuple[float, ...]]:
    """Every other corner of the box, so that each two sides still meet in all four ways."""
    corners = product((0, 1), repeat=len(pairs))
    return [
        tuple(pair[which] for pair, which in zip(pairs, corner, strict=True))
        for corner in corners
        if sum(corner) % 2 == 0
    ]


# by the name in tables: the field of ChoiceBaselinesConfig, and its values
GRIDS: dict[str, tuple[str, list[object]]] = {
    "choice_user_knn": (
        "user_knn",
        [UserKnnConfig(*each) for each in product((30, 100, 1000), (0.0, 20.0), (3.0, 10.0))],
    ),
    "choice_item_knn": (
        "item_knn",
        [ItemKnnConfig(*each) for each in product((100, 1000), (100.0, 1000.0), (1.0, 3.0, 10.0))],
    ),
    "ease": ("ease", [EaseConfig(a * b) for a in (10.0, 100.0, 1e3, 1e4) for b in (1, 2, 5)]),
    "ials": (
        "ials",
        [
            IalsConfig(size, unobserved=unobserved, l2=l2)
            for size, unobserved, l2 in product(SIZES, UNOBSERVED, L2)
        ],
    ),
    "emcdr_ials": (
        "emcdr_ials",
        [
            EmcdrIalsConfig(IalsConfig(size, unobserved=unobserved, l2=l2), damping)
            for size in SIZES
            for unobserved, l2, damping in half(UNOBSERVED, L2, (10.0, 30.0))
        ],
    ),
    "choice_blend": (  # with the best of EMCDR
        "blend",
        [ChoiceBlendConfig(*each) for each in product((30.0, 100.0, 300.0, 1e3), (1.0, 3.0, 10.0))],
    ),
}
METAEM = [
    ChoiceConfig(size, int(epochs), unobserved, l2)
    for size in (16, 32, 64)
    for epochs, unobserved, l2 in half((8, 16), UNOBSERVED, L2)
]


class Cell(NamedTuple):
    """A pair at one beta, and the users who validate."""

    pair: ChoicePair
    users: Tensor  # source indices (B,)
    chosen: Choices  # theirs, in the target

    def ndcg(self, scores: Scores) -> float:
        """NDCG@10 of the validation users, the whole catalogue ranked."""
        rated = scores(self.users).numpy()
        placed = place_at(rated, self.chosen.owner.numpy(), self.chosen.items.numpy())
        return float(ndcg_at_k(placed, 10).mean())


def cells(data: Path, betas: list[float], seed: int) -> Iterator[Cell]:
    for name, *domains in PAIRS:
        source, target = (read(data / name / f"{each}.parquet") for each in domains)
        chosen = Choices.of(source.ratings)  # once, so that MetaEM trains once on it
        both = source.user_ids.filter(source.user_ids.is_in(target.user_ids.implode()))
        for beta in betas:
            split = split_overlap(both, SplitConfig(beta, VALIDATION, seed))
            users = (split.train, split.validation, split.cold)
            parts = SplitPair(source, target, Split(*(pl.Series(sorted(each)) for each in users)))
            pair = replace(ChoicePair.of(parts.pair), source=chosen)
            yield Cell(pair, *parts.held_out_choices(parts.roles.validation))


def metaem(cell: Cell, config: ChoiceConfig) -> Scores:
    pair = cell.pair
    domains = trained(config, pair.source), trained(config, pair.target)
    sizes = config.size // 4, config.size // 2, config.size
    transfer = ChoiceTransfer.of(ChoiceMappingConfig(sizes), *domains)
    return transfer.model(transfer.sums(pair)).scores_of(pair.source)


@cache
def trained(config: ChoiceConfig, choices: Choices) -> ChoiceDomain:
    stage = ChoicePretraining(config, choices)
    for _ in stage.training.epochs(lambda _: None):
        pass
    return stage.model()


def tune(name: str, settings: list[T], fit: Callable[[Cell, T], Scores], data: list[Cell]) -> T:
    """The setting of the highest mean NDCG@10; prints them all."""
    ndcg = []
    for each in settings:
        ndcg.append(float(np.mean([cell.ndcg(fit(cell, each)) for cell in data])))
        print(f"{name:16} {ndcg[-1]:.4f} {each}", flush=True)
    best = settings[int(np.argmax(ndcg))]
    print(f"{name:16} {max(ndcg):.4f} best: {best}", flush=True)
    return best


def tuned(name: str, config: ChoiceBaselinesConfig, data: list[Cell]) -> ChoiceBaselinesConfig:
    """``config`` with the best setting of one baseline."""
    field, grid = GRIDS[name]

    def fit(cell: Cell, setting: object) -> Scores:
        return CHOICE_BASELINES[name](cell.pair, replace(config, **{field: setting}))

    return replace(config, **{field: tune(name, grid, fit, data)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("METAEM_REAL_DATA"))
    parser.add_argument("--methods", default=",".join([*GRIDS, "metaem_choice"]))
    parser.add_argument("--betas", default="0.2,0.5,0.8")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.data is None:
        parser.error("say where the ratings are: --data or METAEM_REAL_DATA")
    betas = [float(beta) for beta in options.betas.split(",")]
    data = [*cells(Path(options.data), betas, options.seed)]
    print(f"{sum(len(cell.users) for cell in data)} validation users in {len(data)} cells")
    popular = np.mean([cell.ndcg(popularity(cell.pair)) for cell in data])
    print(f"popularity       {popular:.4f}", flush=True)
    config, names = ChoiceBaselinesConfig(), options.methods.split(",")
    for name in [each for each in GRIDS if each in names]:
        config = tuned(name, config, data)
    if "metaem_choice" in names:
        tune("metaem_choice", METAEM, metaem, data)


if __name__ == "__main__":
    main()
