"""The sums of a private run as secure rounds: every device adds its share of the noise itself.

So nobody ever holds a sum without noise, the server included. What share that is a device works
out by itself, from the budget and from how many devices there are at least, which is public; it
answers each sum once. Two thirds of so many bring all the noise that the record says, and with
fewer a sum is not opened. Who takes part is known to the server. Devices that tell it their shares
take theirs off the noise.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from metaem_core.config.dp import PrivateConfig
from metaem_core.data.pair import DomainPair
from metaem_core.data.ratings import Ratings
from metaem_core.evaluation.metrics import Doubles
from metaem_core.federated.private import Private
from metaem_core.federated.secure.loop import SecureLoop
from metaem_core.federated.secure.rounds import Closing, Totals
from metaem_core.federated.secure.sums import KeptSum
from metaem_core.federated.wire import Message
from metaem_core.privacy.dp.bias_transfer import line_sum, stage_mu
from metaem_core.privacy.dp.biases import SUMS, domain_sum
from metaem_core.privacy.dp.gaussian import Release, planned

NOTHING = Totals(0.0, 0.0, 0.0)  # exact totals would tell what the noise is to hide
ENOUGH = 2 / 3  # of the devices
FAR = 12.0  # deviations of its noise beyond its clip that a device's number can be
NAMES = tuple(SUMS)


@dataclass(frozen=True)
class Agreed:
    """What everyone knows of a stage before it begins."""

    config: PrivateConfig
    part: str  # source, target or mapping
    devices: int  # at least so many take part

    def release(self, name: str, numbers: int) -> Release:
        """What a sum is to be."""
        clip, share = SUMS[name]
        return planned(name, numbers, clip, stage_mu(self.config, self.part) * math.sqrt(share))

    def noise(self, name: str, numbers: int) -> float:
        """Deviation of one device's share."""
        return self.release(name, numbers).deviation / math.sqrt(ENOUGH * self.devices)


class AskedTwice(ValueError):
    """A device takes part in each sum once; a second answer would halve its noise."""


class NoisyDevice(Private):
    """A device of a private stage: one user's ratings, and for the line his source bias."""

    def __init__(self, own: Ratings, agreed: Agreed, source_bias: float | None = None) -> None:
        """``own`` has one user, of index 0; ``source_bias`` is in :func:`private_biases.unit`."""
        self._own, self._agreed, self._bias = own, agreed, source_bias
        self._left = set(NAMES)
        self._draw = np.random.default_rng()

    def contribution(self, message: Message) -> tuple[list[Tensor], Totals]:
        """Its part of the sum that is asked for, and noise.

        Raises:
            AskedTwice: it has answered this one.
        """
        name, levels = NAMES[int(message["sum"])], message["levels"].numpy()
        if name not in self._left:
            raise AskedTwice(f"sum {name!r} was asked for again")
        self._left.remove(name)
        part = self._part(name, levels)
        noise = self._draw.normal(0.0, self._agreed.noise(name, part.size), part.shape)
        return [torch.from_numpy(part + noise)], NOTHING

    def _part(self, name: str, levels: Doubles) -> Doubles:
        scale = self._agreed.config.scale
        if name != "line":
            return domain_sum(self._own, scale, name, levels)
        if self._bias is None:
            return np.zeros(5)
        me = np.zeros(1, np.int64)
        pair = DomainPair(self._own, self._own, me, me)
        return line_sum(pair, np.array([self._bias]), scale, name, levels)

    def close(self, closing: Closing) -> None:
        """Nothing of a device is trained here."""


@dataclass
class SecureSums:
    """Noisy sums over devices, each a secure round of them all."""

    devices: Mapping[int, NoisyDevice]
    agreed: Agreed
    made: list[Release] = field(default_factory=list)
    leavers: Mapping[int, int] = field(default_factory=dict)  # device -> passage, in every round

    def ask(self, name: str, levels: Doubles) -> tuple[Doubles, float]:
        """One sum, and the noise that the devices which took part have brought.

        Raises:
            TooFewDevices: without their shares there would be too little noise.
            AskedTwice: this sum was there before, or its round was void.
        """
        shape = torch.Size({"mean": (2,), "line": (5,)}.get(name, (2, len(levels))))
        message = {"sum": torch.tensor(NAMES.index(name)), "levels": torch.from_numpy(levels)}
        server, share = KeptSum((shape,), message), self.agreed.noise(name, shape.numel())
        limit = SUMS[name].clip + FAR * share
        least = math.ceil(ENOUGH * self.agreed.devices)
        loop = SecureLoop(server, self.devices, least, limit)
        loop.round(sorted(self.devices), self.leavers)
        self.made.append(self.agreed.release(name, shape.numel()))
        (arrived,) = server.found
        return arrived.numpy(), share * math.sqrt(len(loop.vectors))
