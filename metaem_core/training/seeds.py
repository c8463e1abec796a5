"""Seeds of an epoch's order and of a domain's start, derived from the one of the settings."""

import numpy as np
import torch


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed for one epoch's order, so that resuming needs no generator state."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def domain_generator(seed: int, n_users: int, n_items: int) -> torch.Generator:
    """Two domains of one seed must not start alike: shared users may have like indices."""
    own = np.random.SeedSequence([seed, n_users, n_items]).generate_state(1)
    return torch.Generator().manual_seed(int(own[0]))
