"""The cold-start split of the overlap into training, validation and cold users."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256


@dataclass(frozen=True)
class SplitConfig:
    """The shares of the split."""

    cold_fraction: float = 0.2  # beta: share of the shared users whose target ratings are hidden
    validation_fraction: float = 0.1  # share of the remaining ones kept for stopping and tuning
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("cold_fraction", "validation_fraction"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise ValueError(f"{name} must lie strictly between 0 and 1, got {value!r}")


@dataclass(frozen=True)
class UserSplit:
    """User ids by role; every shared user has exactly one."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    cold: tuple[str, ...]


def split_overlap(overlap: Iterable[str], config: SplitConfig) -> UserSplit:
    """Partition the shared users into roles by a seeded hash of their id.

    The order depends on ids and seed alone, so at one seed a smaller beta's cold users are among
    a larger beta's, and the row order of the input, platform and library versions do not matter.
    """
    ordered = sorted(
        set(overlap), key=lambda user: sha256(f"{config.seed}:{user}".encode()).digest()
    )
    n_cold = round(config.cold_fraction * len(ordered))
    rest = ordered[n_cold:]
    n_validation = max(1, round(config.validation_fraction * len(rest)))
    split = UserSplit(
        train=tuple(rest[n_validation:]),
        validation=tuple(rest[:n_validation]),
        cold=tuple(ordered[:n_cold]),
    )
    _require_every_role(split, config)
    return split


def digest(split: UserSplit) -> str:
    """The sha256 of the ids by role, whatever their order within a role."""
    roles = {role: sorted(users) for role, users in asdict(split).items()}
    return sha256(json.dumps(roles, sort_keys=True).encode()).hexdigest()


def _require_every_role(split: UserSplit, config: SplitConfig) -> None:
    sizes = {role: len(users) for role, users in asdict(split).items()}
    if not any(sizes.values()):
        raise ValueError("no user is in both domains: a user needs the same id in both files")
    if min(sizes.values()) == 0:
        raise ValueError(
            f"{sum(sizes.values())} shared users leave a role empty: {sizes} at cold_fraction "
            f"{config.cold_fraction!r} and validation_fraction {config.validation_fraction!r}; "
            f"use a larger pair or other fractions"
        )
