"""How long one user waits for recommendations, on one core, and ten thousand, on two.

    python benchmarks/recommending.py [--items 64443] [--users 10000] [--rounds 200]

A model of the default's shapes with random numbers, both halves, a catalogue of Table 2's Music,
histories of 5 to 60 ratings of 50,000 source items. A user's time is from their ratings as a frame
to their ten items as a frame, everything loaded: fold-in, scores of every item, leaving out what
they know, the expected stars. Ten thousand users' ends with their lists in a Parquet file. By stars
is the order of --by stars. The load is that of the machine at the start, which has to be idle.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.history import record
from metaem_core.config.choice import ChoiceConfig, ChoiceMappingConfig
from metaem_core.config.mapping import MappingConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.bias import fitted_biases
from metaem_core.data.ratings import Ratings, RatingScale
from metaem_core.data.user_profile import ProfileStatistics
from metaem_core.methods.metaem.mapping import fresh_network, mapped_size
from metaem_core.methods.metaem.mapping_start import identity
from metaem_core.methods.metaem.pretraining import Pretraining
from metaem_core.models.choice import ItemFactors
from metaem_core.models.choice_mapping import ChoiceModel, ChoiceScorer, SourceFeatures
from metaem_core.models.choice_recommender import ChoiceRecommender
from metaem_core.models.metaem import DomainModel
from metaem_core.models.recommender import Recommender
from tasks.recommend.artifact import ItemRecommender
from tasks.recommend.histories import Histories
from tasks.recommend.top_n import Order, recommend

SOURCE_ITEMS, RATERS = 50_000, 20_000


def ratings(users: int, items: int, draw: np.random.Generator) -> Ratings:
    """5 to 60 random stars each."""
    counts = draw.integers(5, 61, users)
    owner = np.repeat(np.arange(users), counts)
    rated = draw.integers(0, items, len(owner))
    keys = np.unique(owner * items + rated)
    values = draw.integers(1, 6, len(keys)).astype(np.float32)
    return Ratings(keys // items, keys % items, values, users, items)


def model(trained: Ratings) -> DomainModel:
    """A domain as it is before its first round."""
    return Pretraining(PretrainConfig(), trained).start()[0]


def by_choice(items: int) -> ChoiceRecommender:
    """Random vectors and tables of the default's sizes."""
    config, sizes = ChoiceConfig(), ChoiceMappingConfig().sizes
    vectors = torch.randn(SOURCE_ITEMS, config.size) / config.size
    factors = ItemFactors.of(vectors, config.unobserved, config.l2)
    widths = *(1 + size for size in sizes), 1 + config.leading
    scorer = ChoiceScorer.of([torch.randn(items, width) for width in widths], 1.0)
    leading = torch.randn(SOURCE_ITEMS, config.leading) / config.leading
    features = SourceFeatures(factors, torch.randn(config.size, max(sizes)), leading)
    return ChoiceRecommender(ChoiceModel(features, scorer, torch.zeros(features.width)))


def by_stars(items: int, draw: np.random.Generator) -> Recommender:
    """Domains and a mapping as they are before their first round."""
    source = ratings(RATERS, SOURCE_ITEMS, draw)
    sides = model(source), model(ratings(RATERS, items, draw))
    width = sides[0].user_embeddings.shape[1] + sides[0].user_profiles.shape[1]
    network = fresh_network(MappingConfig(), width, sides[1], torch.float32)
    mapping = (*identity(width, mapped_size(sides[1]), torch.float32), *network)
    statistics = ProfileStatistics.of(source, fitted_biases(source))
    return Recommender(sides[0], statistics, sides[1], mapping, PretrainConfig().table_l2)


def untrained(items: int, draw: np.random.Generator) -> ItemRecommender:
    halves = by_choice(items), by_stars(items, draw)
    names = (pl.Series([f"i{number:07d}" for number in range(n)]) for n in (SOURCE_ITEMS, items))
    return ItemRecommender(*halves, "movie-music", RatingScale(), None, *names)


def frame(users: Ratings, names: pl.Series) -> pl.DataFrame:
    ids = pl.Series([f"u{number:06d}" for number in range(users.n_users)])
    return pl.DataFrame(
        {
            "user_id": ids.gather(users.users),
            "item_id": names.gather(users.items),
            "rating": users.values,
        }
    )


NOTHING = pl.DataFrame(schema={"user_id": pl.String, "item_id": pl.String})


def waits(
    packed: ItemRecommender, users: list[pl.DataFrame], why: bool, by: Order
) -> tuple[float, float]:
    """Median and 95th percentile of one user's milliseconds, the first ten left out."""
    taken = []
    for one in users:
        start = time.perf_counter()
        recommend(packed, Histories(one, NOTHING), 10, why, by)
        taken.append((time.perf_counter() - start) * 1e3)
    warm = sorted(taken[10:])
    return statistics.median(warm), warm[int(0.95 * len(warm))]


def in_bulk(packed: ItemRecommender, users: pl.DataFrame, why: bool) -> tuple[float, float]:
    """Seconds from everyone's ratings to a file of lists, by the clock and of all cores."""
    with tempfile.TemporaryDirectory() as folder:
        start, begin = time.perf_counter(), time.process_time()
        lists = recommend(packed, Histories(users, NOTHING), 10, why)
        lists.write_parquet(Path(folder) / "lists.parquet")
        return time.perf_counter() - start, time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--items", type=int, default=64_443)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    figures: dict[str, float | str] = {"load": os.getloadavg()[0], "items": options.items}
    draw = np.random.default_rng(0)
    packed = untrained(options.items, draw)
    users = frame(ratings(options.users, SOURCE_ITEMS, draw), packed.source_items)
    each = users.partition_by("user_id")[: options.rounds + 10]
    torch.set_num_threads(1)
    ways: list[tuple[str, bool, Order]] = [
        ("one user", False, "choice"),
        ("with reasons", True, "choice"),
        ("by stars", False, "stars"),
    ]
    for name, why, by in ways:
        median, high = waits(packed, each, why, by)
        print(f"{name:13} median {median:6.1f} ms, 95th percentile {high:6.1f} ms")
        figures |= {f"{name}, ms": median, f"{name}, 95th": high}
    torch.set_num_threads(2)
    for name, why in (("in bulk", False), ("in bulk, with reasons", True)):
        seconds, busy = in_bulk(packed, users, why)
        print(f"{options.users:,} users {name}: {seconds:.1f} s, {busy:.1f} s of all cores")
        figures |= {f"{name}, s": seconds, f"{name}, cpu": busy}
    record("recommending", **figures)


if __name__ == "__main__":
    main()
