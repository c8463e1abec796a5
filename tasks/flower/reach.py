"""Which devices of a job are within reach."""

from collections.abc import Sequence

import torch
from torch import Tensor


def within(users: Tensor, devices: Sequence[int]) -> Tensor:
    """Those of ``users`` who have one of ``devices``, ascending."""
    return users[torch.isin(users, torch.tensor(devices))].sort().values


def require(users: Tensor, least: int, role: str) -> None:
    """Raise ValueError unless ``least`` devices have a role."""
    if len(users) < least:
        raise ValueError(f"{len(users)} devices within reach {role}, it takes {least}: assign more")
