"""Random numbers of an epoch's order and of a domain's start, from the one seed of the settings."""

import numpy as np
import torch

from metaem_core.data.ratings import Ints


def drawn_positions(count: int, most: int, seed: int) -> Ints:
    """At most ``most`` of the positions 0 to count - 1, ascending."""
    draw = np.random.default_rng(seed)
    return np.sort(draw.choice(count, min(count, most), replace=False))


def derived_generator(seed: int, *parts: int) -> torch.Generator:
    """A generator that depends on nothing but these numbers, so that a checkpoint keeps no state.

    Args:
        parts: the epoch, or the numbers of a domain's users and items: two domains of one seed
            must not start alike, since shared users may have like indices.
    """
    own = np.random.SeedSequence([seed, *parts]).generate_state(1)
    return torch.Generator().manual_seed(int(own[0]))
