"""How large a synthetic world is, and which users are in which of its domains."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from metaem_core.data.ratings import Ints

Domain = Literal["movie", "music", "book"]
DOMAINS: tuple[Domain, ...] = ("movie", "music", "book")
# ratings of 1 to 5 stars in the 5-core Amazon files of 2014
STARS: dict[Domain, tuple[int, ...]] = {
    "movie": (104_219, 102_410, 201_302, 382_994, 906_608),
    "music": (46_195, 46_571, 101_824, 246_326, 656_676),
    "book": (323_833, 415_110, 955_189, 2_223_094, 4_980_815),
}


@dataclass(frozen=True)
class DomainSize:
    """How much one domain holds."""

    users: int
    items: int
    ratings: int


@dataclass(frozen=True)
class WorldSize:
    """Three domains and the users each pair of them shares, ``all_three`` included."""

    domains: dict[Domain, DomainSize]
    movie_music: int
    movie_book: int
    music_book: int
    all_three: int


SCALES: dict[str, WorldSize] = {
    "default": WorldSize(
        domains={
            "movie": DomainSize(7_000, 3_500, 110_000),
            "music": DomainSize(4_000, 2_600, 56_000),
            "book": DomainSize(12_000, 6_000, 175_000),
        },
        movie_music=1_500,
        movie_book=1_800,
        music_book=1_000,
        all_three=400,
    ),
    "table2": WorldSize(
        domains={
            "movie": DomainSize(123_960, 50_052, 1_697_533),
            "music": DomainSize(75_258, 64_443, 1_097_592),
            "book": DomainSize(603_668, 367_982, 8_898_041),
        },
        movie_music=18_031,
        movie_book=37_388,
        music_book=16_738,
        all_three=6_000,
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
        domains={
            name: DomainSize(
                round(size.users * growth), round(size.items * growth), round(size.ratings * growth)
            )
            for name, size in base.domains.items()
        },
        movie_music=round(base.movie_music * growth),
        movie_book=round(base.movie_book * growth),
        music_book=round(base.music_book * growth),
        all_three=round(base.all_three * growth),
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
    three = size.all_three
    users = {name: domain.users for name, domain in size.domains.items()}
    movie_music, movie_book = size.movie_music - three, size.movie_book - three
    music_book = size.music_book - three
    return [
        (("movie",), users["movie"] - movie_music - movie_book - three),
        (("movie", "music"), movie_music),
        (("movie", "music", "book"), three),
        (("movie", "book"), movie_book),
        (("music",), users["music"] - movie_music - music_book - three),
        (("music", "book"), music_book),
        (("book",), users["book"] - movie_book - music_book - three),
    ]
