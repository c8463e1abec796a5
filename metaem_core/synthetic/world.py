"""A synthetic world with known truth: what users like and choose is correlated between domains."""

from dataclasses import dataclass

import numpy as np

from metaem_core.data.ratings import Floats, Ints
from metaem_core.synthetic.links import Seekers, Sought, link
from metaem_core.synthetic.size import STARS, Domain, members, population, world_size

TASTES = 2  # dimensions of taste: few enough to be learned from about 15 ratings a user
USER_BIAS, ITEM_QUALITY = 0.15, 0.15  # shares of an opinion's variance; noise takes the rest
GENRES = 40  # of items; in a model of 32 dimensions each still has lists of its own
INTEREST = 6.0  # standard deviation of a user's logit of choosing an item of a genre
CARRIED = 0.05  # users' interests correlate by shared**CARRIED: choices carry over more than stars
DAY = 86_400
FIRST_DAY, LAST_DAY = 10_000, 16_270  # since 1970: May 1997 to July 2014
STAY = 400.0  # mean days between a user's first possible and a given rating


@dataclass(frozen=True)
class SyntheticConfig:
    """Which world to plant."""

    seed: int = 0
    scale: str = "default"  # or "table2": the paper's counts of users, items, ratings, overlaps
    growth: float = 1.0  # multiplies every count of the scale
    shared: float = 0.6  # correlation of bias and tastes between domains; 0: interests differ too
    taste: float = 0.3  # taste's share of an opinion's variance

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed!r}")
        if not 0 <= self.shared <= 1:
            raise ValueError(f"shared is a correlation from 0 to 1, got {self.shared!r}")
        if not 0 <= self.taste < 1 - USER_BIAS - ITEM_QUALITY:
            raise ValueError(
                f"taste must leave room for noise: from 0 to below "
                f"{1 - USER_BIAS - ITEM_QUALITY:.2f}, got {self.taste!r}"
            )
        world_size(self.scale, self.growth)


@dataclass(frozen=True)
class SyntheticDomain:
    """Ratings sorted by (user, item); users are numbered alike in every domain."""

    users: Ints  # (R,) user numbers
    items: Ints  # (R,) item numbers of this domain
    values: Floats  # (R,) whole stars, 1 to 5
    timestamps: Ints  # (R,) seconds since 1970, whole days


@dataclass(frozen=True)
class Planted:
    """The opinion b_u + q_i + t_u . v_i + noise of which a rating shows the star."""

    users: Ints  # (U,) user numbers, ascending
    user_bias: Floats  # (U,)
    user_taste: Floats  # (U, TASTES)
    item_quality: Floats  # (items,)
    item_taste: Floats  # (items, TASTES)
    user_interests: Floats  # (U, GENRES): logits of choosing an item of each
    item_genres: Ints  # (items,)
    noise: float  # standard deviation


def generate(config: SyntheticConfig, domain: Domain) -> SyntheticDomain:
    """One domain's ratings; the other domains agree on the users without being generated."""
    size = world_size(config.scale, config.growth)
    planted = plant(config, domain)
    generator = _generator(config, domain, "ratings")
    seekers = Seekers(planted.user_taste[:, 0], planted.user_interests)
    sought = Sought(planted.item_taste[:, 0], planted.item_genres)
    users, items = link(size.domains[domain], seekers, sought, generator)
    opinion = planted_opinion(planted, users, items)
    opinion += planted.noise * generator.standard_normal(len(users), dtype=np.float32)
    return SyntheticDomain(
        users=planted.users[users],
        items=items,
        values=_stars(opinion, STARS[domain]),
        timestamps=_timestamps(users, len(planted.users), generator),
    )


def plant(config: SyntheticConfig, domain: Domain) -> Planted:
    """The parameters behind :func:`generate`'s ratings, for oracles and tests."""
    size = world_size(config.scale, config.growth)
    users = members(size, domain)
    shared = _standard(_generator(config, "people"), population(size))
    own = _standard(_generator(config, domain, "users"), len(users))
    user = _scaled(shared[users], config.shared) + _scaled(own, 1 - config.shared)
    n_items = size.domains[domain].items
    item = _standard(_generator(config, domain, "items"), n_items)
    return Planted(
        users=users,
        user_bias=_scaled(user[:, 0], USER_BIAS),
        user_taste=user[:, 1:],
        item_quality=_scaled(item[:, 0], ITEM_QUALITY),
        item_taste=_scaled(item[:, 1:], config.taste / TASTES),
        user_interests=_interests(config, domain, users),
        item_genres=_generator(config, domain, "genres").integers(0, GENRES, n_items),
        noise=float(np.sqrt(1 - USER_BIAS - ITEM_QUALITY - config.taste)),
    )


def _interests(config: SyntheticConfig, domain: Domain, users: Ints) -> Floats:
    everyone = population(world_size(config.scale, config.growth))
    shared = _standard(_generator(config, "interests"), everyone, GENRES)[users]
    own = _standard(_generator(config, domain, "interests"), len(users), GENRES)
    carried = config.shared**CARRIED
    both = _scaled(shared, carried) + _scaled(own, 1 - carried)
    return both * np.float32(INTEREST)


def planted_opinion(planted: Planted, users: Ints, items: Ints) -> Floats:
    """b_u + q_i + t_u . v_i of rows of ``planted``; shape (R,)."""
    opinion = planted.user_bias[users] + planted.item_quality[items]
    for taste in range(TASTES):  # one dimension at a time: no (R, TASTES) copies
        opinion += planted.user_taste[users, taste] * planted.item_taste[items, taste]
    return opinion


def _generator(config: SyntheticConfig, *part: str) -> np.random.Generator:
    return np.random.default_rng([config.seed, *"/".join(part).encode()])


def _standard(generator: np.random.Generator, rows: int, columns: int = 1 + TASTES) -> Floats:
    """A bias and tastes of each (rows, 1 + TASTES), or other columns, of variance 1."""
    return generator.standard_normal((rows, columns), dtype=np.float32)


def _scaled(standard: Floats, variance: float) -> Floats:
    return standard * np.float32(np.sqrt(variance))


def _stars(opinion: Floats, histogram: tuple[int, ...]) -> Floats:
    """Cut opinions where the shares of stars become the histogram's."""
    shares = np.cumsum(histogram[:-1]) / sum(histogram)
    ranks = np.round(shares * len(opinion)).astype(np.int64)
    thresholds = np.partition(opinion, ranks)[ranks]
    return (1 + np.searchsorted(thresholds, opinion, side="right")).astype(np.float32)


def _timestamps(users: Ints, n_users: int, generator: np.random.Generator) -> Ints:
    joined = generator.integers(FIRST_DAY, LAST_DAY, n_users)
    day = joined[users] + generator.exponential(STAY, len(users)).astype(np.int64)
    return np.minimum(day, LAST_DAY) * DAY
