"""How large a synthetic world is, and which users are in which of its domains."""

from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

from metaem_core.data.ratings import Ints

Domain = Literal["movie", "music", "book"]
DOMAINS: tuple[Domain, ...] = ("movie", "music", "book")
MOVIE_MUSIC, MOVIE_BOOK, MUSIC_BOOK = combinations(DOMAINS, 2)
# ratings of 1 to 5 stars in the 5-core Amazon files of 2014
STARS: dict[Domain, tuple[int, ...]] = {
    "movie": (104_219, 102_410, 201_302, 382_994, 906_608),
    "music": (46_195, 46_571, 101_824, 246_326, 656_676),
    "book": (323_833, 415_110, 955_189, 2_223_094, 4_980_815),
}


class DomainSize(NamedTuple):
    """How much one domain holds."""

    users: int
    items: int
    ratings: int


@dataclass(frozen=True)
class WorldSize:
    """Three domains, and the users that two or three share; those of all three count as each."""

    domains: dict[Domain, DomainSize]
    shared: dict[tuple[Domain, ...], int]  # in the order of DOMAINS


SCALES: dict[str, WorldSize] = {
    "default": WorldSize(
        {
            "movie": DomainSize(7_000, 3_500, 110_000),
            "music": DomainSize(4_000, 2_600, 56_000),
            "book": DomainSize(12_000, 6_000, 175_000),
        },
        {MOVIE_MUSIC: 1_500, MOVIE_BOOK: 1_800, MUSIC_BOOK: 1_000, DOMAINS: 400},
    ),
    "table2": WorldSize(
        {
            "movie": DomainSize(123_960, 50_052, 1_697_533),
            "music": DomainSize(75_258, 64_443, 1_097_592),
            "book": DomainSize(603_668, 367_982, 8_898_041),
        },
        {MOVIE_MUSIC: 18_031, MOVIE_BOOK: 37_388, MUSIC_BOOK: 16_738, DOMAINS: 6_000},
    ),
}


def world_size(scale: str, growth: float) -> WorldSize:
    """The named scale with every count multiplied by ``growth``."""
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; one of {', '.join(SCALES)}")
    if not 0.02 <= growth <= 1000:
        raise ValueError(f"growth goes from 0.02 to 1000, got {growth!r}")
    base = SCALES[scale]
    return WorldSize(
        {
            name: DomainSize(*(round(n * growth) for n in size))
            for name, size in base.domains.items()
        },
        {domains: round(users * growth) for domains, users in base.shared.items()},
    )


def members(size: WorldSize, domain: Domain) -> Ints:
    """The domain's user numbers, ascending; each combination of domains has its own range."""
    ranges, start = [], 0
    for domains, users in _combinations(size):
        if domain in domains:
            ranges.append(np.arange(start, start + users))
        start += users
    return np.concatenate(ranges)


def population(size: WorldSize) -> int:
    """The number of users over all domains."""
    return sum(users for _, users in _combinations(size))


def _combinations(size: WorldSize) -> list[tuple[tuple[Domain, ...], int]]:
    """Every combination of domains, and the users who are in these and in no others."""
    alone: dict[tuple[Domain, ...], int] = {(name,): d.users for name, d in size.domains.items()}
    users: dict[tuple[Domain, ...], int] = {}
    for domains, total in sorted((alone | size.shared).items(), key=lambda c: -len(c[0])):
        users[domains] = total - sum(n for more, n in users.items() if {*domains} < {*more})
    return sorted(users.items(), key=lambda c: [DOMAINS.index(name) for name in c[0]])
