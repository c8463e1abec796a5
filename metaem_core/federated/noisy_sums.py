"""The sums of a private run as secure rounds: every device adds its share of the noise itself.

So nobody ever holds a sum without noise, the server included. A share is such that two thirds of
the devices, without which a sum cannot be opened, bring all the noise that the record says; when
more arrive there is more. Devices that tell the server their shares take theirs off the noise.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from metaem_core.federated.rounds import RoundStats
from metaem_core.federated.secure_loop import SecureLoop
from metaem_core.federated.secure_rounds import Closing, Totals
from metaem_core.federated.wire import Message
from metaem_core.methods.private_biases import SUMS, NoisyItems, domain_sum
from metaem_core.methods.private_metaem import line_sum
from metaem_core.pair import DomainPair
from metaem_core.privacy.gaussian import Doubles, Releases
from metaem_core.privacy.private import Private
from metaem_core.ratings import Ratings, RatingScale

NOTHING = Totals(0.0, 0.0, 0.0)  # exact totals would tell what the noise is to hide
ENOUGH = 2 / 3  # of the devices
NAMES = tuple(SUMS)
ITEMS = ("first", "total", "weight")


class NoisyDevice(Private):
    """A device of a private run: one user's ratings, and in a target's his source bias."""

    def __init__(self, own: Ratings, scale: RatingScale, source_bias: float = 0.0) -> None:
        """``own`` has one user, of index 0; ``source_bias`` is in :func:`private_biases.unit`."""
        self._own, self._scale, self._bias = own, scale, np.array([source_bias])
        self._draw = np.random.default_rng()

    def contribution(self, message: Message) -> tuple[list[Tensor], Totals]:
        """Its part of the sum that is asked for, and noise."""
        known = NoisyItems(
            mean=float(message["mean"]),
            deviation=float(message["deviation"]),
            **{name: message[name].numpy() for name in ITEMS},
        )
        name, own = NAMES[int(message["sum"])], self._own
        if name == "line":
            me = np.zeros(1, np.int64)
            part = line_sum(DomainPair(own, own, me, me), self._bias, self._scale, name, known)
        else:
            part = domain_sum(own, self._scale, name, known)
        noise = self._draw.normal(0.0, float(message["noise"]), part.shape)
        return [torch.from_numpy(part + noise)], NOTHING

    def close(self, closing: Closing) -> None:
        """Nothing of a device is trained here."""


@dataclass
class _Server:
    """The server of one sum."""

    shape: torch.Size
    message: Message
    arrived: Doubles = field(default_factory=lambda: np.zeros(0))

    @property
    def shapes(self) -> tuple[torch.Size, ...]:
        return (self.shape,)

    def broadcast(self) -> Message:
        return self.message

    def apply(self, gradients: list[Tensor], totals: Totals) -> tuple[RoundStats, Closing]:
        self.arrived = gradients[0].double().numpy()
        return RoundStats(0.0, 0), Closing(0, 0.0)


@dataclass
class SecureSums:
    """Noisy sums over devices, each a secure round of them all."""

    devices: Mapping[int, NoisyDevice]
    releases: Releases  # the record; its own noise is not used
    leavers: Mapping[int, int] = field(default_factory=dict)  # device -> passage, in every round

    def ask(self, name: str, known: NoisyItems) -> tuple[Doubles, float]:
        """One sum.

        Raises:
            TooFewDevices: without their shares there would be too little noise.
        """
        deviation = self.releases.record(name, *SUMS[name]).deviation
        share = deviation / math.sqrt(ENOUGH * len(self.devices))
        message = {
            "sum": torch.tensor(NAMES.index(name)),
            "noise": torch.tensor(share, dtype=torch.float64),
            "mean": torch.tensor(known.mean, dtype=torch.float64),
            "deviation": torch.tensor(known.deviation, dtype=torch.float64),
            **{field: torch.from_numpy(getattr(known, field)) for field in ITEMS},
        }
        shapes = {"mean": (2,), "line": (5,)}
        server = _Server(torch.Size(shapes.get(name, (2, len(known.first)))), message)
        loop = SecureLoop(server, self.devices, math.ceil(ENOUGH * len(self.devices)))
        loop.round(sorted(self.devices), self.leavers)
        return server.arrived, deviation
