"""What travels between server and device in one round, and nothing else.

A device answers with the gradient of its loss with respect to exactly the tensors it received, so
the server can finish the chain rule through whatever it kept to itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metaem_core.models.forward import PredictionInputs
from metaem_core.models.metaem import DomainModel
from metaem_core.models.mlp import Parameters


@dataclass(frozen=True)
class Download(PredictionInputs):
    """What a cohort of |S| devices receives; a single phone is |S| = 1."""

    trained: frozenset[str]  # the fields whose gradient the server asks for

    @classmethod
    def of(
        cls, model: DomainModel, vectors: Tensor, trained: frozenset[str], items: Tensor
    ) -> "Download":
        """What devices with these user ``vectors`` (S, k_u) need to rate ``items`` (n,)."""
        return cls(**vars(model.inputs(vectors, items)), trained=trained)

    @property
    def per_device(self) -> frozenset[str]:
        """Fields with one slice a device; the others are the same for all of them."""
        own = {"user_vectors", "private_items"} | ({"item_tower"} if self.personal_tower else set())
        return frozenset(own)

    def of_device(self, position: int) -> "Download":
        """What the device at ``position`` in the cohort receives."""
        one = slice(position, position + 1)
        return self.replaced(
            {name: tuple(t[one] for t in tensors_of(self, name)) for name in self.per_device}
        )

    def replaced(self, tensors: Mapping[str, Parameters]) -> "Download":
        """The same message with other tensors in the named fields."""
        new = {name: of if name == "item_tower" else of[0] for name, of in tensors.items()}
        return Download(**{**vars(self), **new})


@dataclass(frozen=True)
class Upload:
    """Gradients of the cohort's summed squared error, summed over devices where shared."""

    gradients: dict[str, Parameters]  # by field of Download
    squared_error: float
    n_ratings: int


def tensors_of(download: Download, name: str) -> Parameters:
    """The tensors of one field, as a tuple whatever the field."""
    value = getattr(download, name)
    return value if isinstance(value, tuple) else (value,)


def combine(uploads: Sequence[Upload], per_device: frozenset[str]) -> Upload:
    """One upload for a cohort: shared gradients summed, each device's own stacked in order."""
    gradients = {}
    for name in uploads[0].gradients:
        parts = list(zip(*(u.gradients[name] for u in uploads), strict=True))
        if name in per_device:
            gradients[name] = tuple(torch.cat(part) for part in parts)
        else:
            gradients[name] = tuple(torch.stack(part).sum(0) for part in parts)
    return Upload(
        gradients, sum(u.squared_error for u in uploads), sum(u.n_ratings for u in uploads)
    )
