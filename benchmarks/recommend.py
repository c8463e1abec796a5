"""How long one user waits for recommendations, and ten thousand, on one core.

    python benchmarks/recommend.py [--items 64443] [--users 10000] [--rounds 200]

A model of the default's shapes with random numbers, a catalogue of Table 2's Music, histories of 5
to 60 ratings of 50,000 source items. A user's time is from their ratings as a frame to their ten
items as a frame, everything loaded: fold-in, mapping, rating every item, leaving out what they
know. The baseline is only the matrix products of MLP_item for the whole catalogue, one call each.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from metaem_core.config.mapping import MappingConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.bias import fitted_biases
from metaem_core.data.ratings import Ratings, RatingScale
from metaem_core.data.user_profile import ProfileStatistics
from metaem_core.methods.metaem.mapping import fresh_network, mapped_size
from metaem_core.methods.metaem.mapping_start import identity
from metaem_core.methods.metaem.pretraining import Pretraining
from metaem_core.models.metaem import DomainModel
from metaem_core.models.recommender import Recommender
from tasks.recommend.artifact import ItemRecommender
from tasks.recommend.histories import Histories
from tasks.recommend.top_n import recommend

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


def untrained(items: int, draw: np.random.Generator) -> ItemRecommender:
    source = ratings(RATERS, SOURCE_ITEMS, draw)
    sides = model(source), model(ratings(RATERS, items, draw))
    width = sides[0].user_embeddings.shape[1] + sides[0].user_profiles.shape[1]
    network = fresh_network(MappingConfig(), width, sides[1], torch.float32)
    mapping = (*identity(width, mapped_size(sides[1]), torch.float32), *network)
    statistics = ProfileStatistics.of(source, fitted_biases(source))
    made = Recommender(sides[0], statistics, sides[1], mapping, PretrainConfig().table_l2)
    names = (pl.Series([f"i{number:07d}" for number in range(n)]) for n in (SOURCE_ITEMS, items))
    return ItemRecommender(made, "movie-music", RatingScale(), *names)


def frame(people: Ratings, names: pl.Series) -> pl.DataFrame:
    users = pl.Series([f"u{number:06d}" for number in range(people.n_users)])
    return pl.DataFrame(
        {
            "user_id": users.gather(people.users),
            "item_id": names.gather(people.items),
            "rating": people.values,
        }
    )


def products(made: Recommender) -> float:
    """Seconds of MLP_item's matrix products alone."""
    x = made.target.common_items @ made.target.private_items(torch.zeros(1, 32))[0]
    start = time.perf_counter()
    for weight in made.target.item_tower[::2]:
        x = x @ weight.T
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--items", type=int, default=64_443)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    draw = np.random.default_rng(0)
    made = untrained(options.items, draw)
    people = frame(ratings(options.users, SOURCE_ITEMS, draw), made.source_items)
    nothing = pl.DataFrame(schema={"user_id": pl.String, "item_id": pl.String})
    each = people.partition_by("user_id")[: options.rounds + 10]
    taken, explained, bare = [], [], []
    for one in each:
        start = time.perf_counter()
        recommend(made, Histories(one, nothing), 10, explain=False)
        taken.append(time.perf_counter() - start)
        start = time.perf_counter()
        recommend(made, Histories(one, nothing), 10, explain=True)
        explained.append(time.perf_counter() - start)
        bare.append(products(made.recommender))
    for what, seconds in (("one user", taken), ("with reasons", explained), ("products", bare)):
        warm = sorted(seconds[10:])
        print(
            f"{what:13} median {statistics.median(warm) * 1e3:6.1f} ms, "
            f"95th percentile {warm[int(0.95 * len(warm))] * 1e3:6.1f} ms"
        )
    start = time.perf_counter()
    found = recommend(made, Histories(people, nothing), 10, explain=False)
    seconds = time.perf_counter() - start
    print(f"{options.users:,} users {seconds:.0f} s, {options.users / seconds:.0f} users/s", end="")
    print(f", {found.height:,} rows")


if __name__ == "__main__":
    main()
