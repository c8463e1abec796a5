"""Where the calibrated mapping starts: at bias transfer, with taste carried over linearly.

Both lines take one sum each over the ratings of the training overlap. What a device adds to them
it finds from its own vector and ratings, and from what either domain tells of all its users
together; the sums of all and of one are the same code.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from metaem_core.config.mapping import MappingConfig
from metaem_core.data.bias import Biases, without_own
from metaem_core.data.pair import DomainPair
from metaem_core.data.ratings import Floats, Ints
from metaem_core.data.user_profile import USER_TRAITS, ItemScale
from metaem_core.evaluation.metrics import Doubles
from metaem_core.methods.baselines.bias_transfer import overlap_ratings
from metaem_core.models.domain import DomainModel
from metaem_core.models.mlp import Parameters

INTERACTION = 2.5  # damping of a habit times an item trait, against that of the habit alone
TASTE_GAIN = 0.1  # the mapping learns taste this much slower than bias


class Products(NamedTuple):
    """X'X (p, p) and X'y (p,): what a ridge regression needs, and all that a device tells."""

    square: Doubles
    cross: Doubles


class SourceView(NamedTuple):
    """What a source tells of all its users' vectors (k_s) together."""

    centre: Tensor
    scale: Tensor
    directions: Tensor  # the main ones of taste (k, d)

    @property
    def taste(self) -> int:
        """Width of taste in a vector; habits follow it."""
        return len(self.directions)


class TargetView(NamedTuple):
    """What a target tells of its items (n,)."""

    mean: float
    bias: Floats
    counts: Ints
    damping: float  # of the biases
    user_damping: float  # of a user's own
    scale: ItemScale
    directions: Tensor  # the main ones of its item vectors (k_u, d)
    items: Tensor  # item vectors in these (n, d)


def source_view(vectors: Tensor, raters: Ints, size: int) -> SourceView:
    """Of the vectors (m_s, k_s) of the users ``raters``; ``size`` directions."""
    taste = vectors.shape[1] - USER_TRAITS
    known = vectors[torch.from_numpy(raters)]
    centre, scale = known.mean(0), 1 / known.std(0, correction=0).clamp_min(1e-6)
    scale[:taste] /= taste**0.5  # taste as a whole weighs as much as one trait
    return SourceView(centre, scale, _main_directions(vectors[:, :taste], size))


def target_view(target: DomainModel, biases: Biases, pair: DomainPair) -> TargetView:
    """Of the pretrained target and the ratings that it was trained on."""
    counts = np.bincount(pair.target.items, minlength=pair.target.n_items)
    items = target.item_vectors()
    given = _main_directions(items, directions_of(target))
    scale = ItemScale.of(pair.target, biases)
    return TargetView(
        biases.mean,
        biases.item,
        counts,
        biases.item_damping,
        biases.user_damping,
        scale,
        given,
        items @ given,
    )


def directions_of(target: DomainModel) -> int:
    """As many as V^c V^p has: d = min(k_c, k_p)."""
    return min(target.common_items.shape[1], target.item_tower[0].shape[1])


class StartSums(Protocol):
    """Whoever can add up over the training overlap's ratings."""

    def habits(self) -> Products:
        """Of item traits times habits, and what item biases leave."""
        ...

    def taste(self, line: Doubles) -> Products:
        """Of item vectors times taste, and what the habits' ``line`` (p,) leaves too."""
        ...


@dataclass(frozen=True)
class OverlapSums:
    """The sums over ratings that are at hand: everyone's, or on a device its own."""

    source: SourceView
    target: TargetView
    profiles: Tensor  # of each rating's user (R, k_s)
    biases: Floats  # the same user's bias in the target (R,)
    items: Ints  # (R,)
    values: Floats  # (R,)

    def habits(self) -> Products:
        """A rating is compared with its item's bias as it were without it: it will not be inside a
        cold user's."""
        products, y = self._habits()
        return Products(products.T @ products, products.T @ y)

    def taste(self, line: Doubles) -> Products:
        products, y = self._habits()
        left = (y - products @ line).astype(np.float32)
        x = (self.profiles[:, : self.source.taste] @ self.source.directions).double()
        z = self.target.items[torch.from_numpy(self.items)].double()
        tastes = (z.unsqueeze(2) * x.unsqueeze(1)).flatten(1).numpy()  # (R, d * d)
        return Products(tastes.T @ tastes, tastes.T @ left.astype(np.float64))

    def _habits(self) -> tuple[Doubles, Doubles]:
        source, target = self.source, self.target
        counts = target.counts[self.items]
        left = self.values - target.mean - self.biases
        bias = without_own(target.bias[self.items], counts, left, target.damping)
        traits = target.scale.traits(bias, counts - 1)
        habits = ((self.profiles - source.centre) * source.scale)[:, source.taste :].numpy()
        known = np.column_stack([np.ones(len(habits)), habits])
        products = (traits[:, :, None] * known[:, None, :]).reshape(len(bias), -1)
        return products.astype(np.float64), (self.values - target.mean - bias).astype(np.float64)


def overlap_sums(
    source: SourceView, target: TargetView, vectors: Tensor, biases: Biases, pair: DomainPair
) -> OverlapSums:
    """Over the ratings of the whole training overlap."""
    overlap, persons = overlap_ratings(pair)
    profiles, own = vectors[torch.from_numpy(persons)], biases.user[overlap.users]
    return OverlapSums(source, target, profiles, own, overlap.items, overlap.values)


def identity(size: int, size_out: int, dtype: torch.dtype) -> Parameters:
    """The start that leaves all to the network."""
    zeros, ones = torch.zeros(size_out, dtype=dtype), torch.ones(size_out, dtype=dtype)
    weight = torch.zeros(size_out, size, dtype=dtype)
    return torch.zeros(size, dtype=dtype), torch.ones(size, dtype=dtype), weight, zeros, ones


def transfer_lines(
    source: SourceView, target: TargetView, sums: StartSums, config: MappingConfig
) -> Parameters:
    """Bias transfer as a start, habits and taste through matrices fitted to what that leaves."""
    centre, scale, seen = source
    k_s, k_u, traits = len(seen), len(target.directions), len(centre) - len(seen)
    solved = _habit_line(sums.habits(), traits + 1, config.trait_damping)
    found = sums.taste(solved)
    square = found.square + config.taste_damping * np.eye(len(found.cross))
    shape = target.items.shape[1], seen.shape[1]
    core = np.linalg.solve(square, found.cross).reshape(shape)
    taste = target.directions @ torch.from_numpy(core).to(centre.dtype) @ seen.T
    line = torch.from_numpy(solved.reshape(-1, traits + 1).astype(np.float32))
    weight = torch.zeros(k_u + len(line), len(centre), dtype=centre.dtype)
    constant, gain = weight.new_zeros(len(weight)), weight.new_full((len(weight),), TASTE_GAIN)
    weight[k_u:, k_s:], constant[k_u:], gain[k_u] = line[:, 1:], line[:, 0], 1.0
    weight[:k_u, :k_s], constant[:k_u] = taste / scale[:k_s], taste @ centre[:k_s]
    return centre, scale, weight, constant, gain


def _habit_line(sums: Products, width: int, damping: float) -> Doubles:
    """How a constant and the habits weigh each item trait: a ridge (p,); 0 where nobody differs."""
    damped = np.full((len(sums.cross) // width, width), damping * INTERACTION)
    damped[0, 2:], damped[0, :2] = damping, 0.0  # the constant and the bias are carried in full
    square = sums.square + np.diag(damped.ravel())
    try:
        return np.asarray(np.linalg.solve(square, sums.cross))
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(square, sums.cross, rcond=None)[0])


def _main_directions(vectors: Tensor, size: int) -> Tensor:
    """The first principal directions of uncentred rows, in columns (k, size)."""
    directions: Tensor = torch.linalg.eigh(vectors.T @ vectors).eigenvectors
    return directions[:, -size:]
