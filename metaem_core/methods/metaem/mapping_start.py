"""Where the mapping starts in a centred domain: bias transfer, with taste transferred linearly.

Both are ridge regressions over the target ratings of the training overlap. A device adds its
products to the sums, which it computes from its own vector and ratings and from what both domains
publish. One rating, one device and the whole overlap run the same code.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from metaem_core.data.bias import Biases, leave_one_out
from metaem_core.data.pair import DomainPair
from metaem_core.data.ratings import Floats, Ints, Ratings
from metaem_core.data.user_profile import PROFILE_SIZE, ItemScale
from metaem_core.evaluation.metrics import Doubles
from metaem_core.methods.metaem.evidence import Products, averaged_ridge, fold_of
from metaem_core.methods.metaem.habit import FREE, SEED, habit_line, regressors
from metaem_core.models.metaem import DomainModel
from metaem_core.models.mlp import Parameters

TASTE_GAIN = 0.1  # the mapping learns taste this much slower than bias
TASTE_DAMPINGS = 3e3, 1e3, 3e2, 1e2, 3e1  # in ratings; and infinity


class SourceView(NamedTuple):
    """What a source publishes of all its users' vectors (k_s) together."""

    centre: Tensor  # (k_s,)
    scale: Tensor  # (k_s,)
    directions: Tensor  # principal directions of taste (k, d)
    line: Doubles  # how its users' profiles predict their ratings within it (36,)

    @property
    def taste(self) -> int:
        """Width k of taste in a source vector; the user profile follows it."""
        return len(self.directions)


class TargetView(NamedTuple):
    """What a target publishes of its items (n,)."""

    mean: float
    bias: Floats  # (n,)
    counts: Ints  # (n,)
    damping: float  # of item biases
    user_damping: float  # of user biases
    scale: ItemScale
    directions: Tensor  # principal directions of its item vectors (k_u, d)
    items: Tensor  # item vectors along these (n, d)
    line: Doubles  # how its users' profiles predict their ratings within it (36,)


def source_view(vectors: Tensor, source: Ratings, size: int) -> SourceView:
    """Of source vectors (m_s, k_s) and the ratings that they are from; ``size`` directions."""
    raters = np.unique(source.users)
    taste = vectors.shape[1] - PROFILE_SIZE
    known = vectors[torch.from_numpy(raters)]
    centre, scale = known.mean(0), 1 / known.std(0, correction=0).clamp_min(1e-6)
    scale[:taste] /= taste**0.5  # taste as a whole weighs as much as one number of the profile
    return SourceView(centre, scale, _main_directions(vectors[:, :taste], size), habit_line(source))


def target_view(target: DomainModel, biases: Biases, pair: DomainPair) -> TargetView:
    """Of the pretrained target and the ratings that it was trained on."""
    counts = np.bincount(pair.target.items, minlength=pair.target.n_items)
    items = target.item_vectors()
    directions = _main_directions(items, directions_of(target))
    scale = ItemScale.of(pair.target, biases)
    return TargetView(
        biases.mean,
        biases.item,
        counts,
        biases.item_damping,
        biases.user_damping,
        scale,
        directions,
        items @ directions,
        habit_line(pair.target, biases),
    )


def directions_of(target: DomainModel) -> int:
    """d = min(k_c, k_p), the rank of V^c V^p."""
    return min(target.common_items.shape[1], target.item_tower[0].shape[1])


class StartSums(Protocol):
    """Whoever can sum over the ratings of the training overlap."""

    def profile_products(self) -> Products:
        """X: item features times profile (R, 36); y: residuals of the item biases (R,)."""
        ...

    def taste_products(self, weights: Doubles) -> Products:
        """X: item vectors times taste (R, d * d); y: residuals of the profile's ``weights`` too."""
        ...


@dataclass(frozen=True)
class OverlapSums:
    """The sums over ratings at hand: those of all users, or on a device the user's own."""

    source: SourceView
    target: TargetView
    vectors: Tensor  # source vector of each rating's user (R, k_s)
    biases: Floats  # the same user's bias in the target (R,)
    users: Ints  # the same user's number in the target (R,)
    items: Ints  # (R,)
    values: Floats  # (R,)

    def profile_products(self) -> Products:
        return self._products(*self._profile_design())

    def taste_products(self, weights: Doubles) -> Products:
        profile, y = self._profile_design()
        tastes = (self.vectors[:, : self.source.taste] @ self.source.directions).double()
        items = self.target.items[torch.from_numpy(self.items)].double()
        x = (items.unsqueeze(2) * tastes.unsqueeze(1)).flatten(1).numpy()  # (R, d * d)
        return self._products(x, y - profile @ weights)

    def _products(self, x: Doubles, y: Doubles) -> Products:
        return Products.of(x, y, self.users, fold_of(self.users, SEED))

    def _profile_design(self) -> tuple[Doubles, Doubles]:
        """Leave-one-out item biases: a cold user's rating is never part of them."""
        source, target = self.source, self.target
        counts = target.counts[self.items]
        residuals = self.values - target.mean - self.biases
        bias = leave_one_out(target.bias[self.items], counts, residuals, target.damping)
        features = target.scale.features(bias, counts - 1)  # (R, 3)
        profiles = ((self.vectors - source.centre) * source.scale)[:, source.taste :].numpy()
        left = (self.values - target.mean - bias).astype(np.float64)
        return regressors(features, profiles), left


def identity(size: int, size_out: int, dtype: torch.dtype) -> Parameters:
    """The start of an uncentred domain: W = 0 and gain 1, so that Eq. 11 is the network alone."""
    zeros, ones = torch.zeros(size_out, dtype=dtype), torch.ones(size_out, dtype=dtype)
    weight = torch.zeros(size_out, size, dtype=dtype)
    return torch.zeros(size, dtype=dtype), torch.ones(size, dtype=dtype), weight, zeros, ones


def transfer_lines(source: SourceView, target: TargetView, sums: StartSums) -> Parameters:
    """The fitted start: centre, scale, W, w and gain of :func:`~metaem_core.models.mapping`."""
    centre, scale, seen, _ = source
    k_s, k_u, profile = len(seen), len(target.directions), len(centre) - len(seen)
    products = sums.profile_products()
    effect = products.design_effect(target.user_damping)
    weights = _between(products, (source.line + target.line) / 2, effect)
    tastes = sums.taste_products(weights)
    shape = target.items.shape[1], seen.shape[1]
    core = averaged_ridge(tastes, 0, effect, TASTE_DAMPINGS).reshape(shape)
    taste = target.directions @ torch.from_numpy(core).to(centre.dtype) @ seen.T
    line = torch.from_numpy(weights.reshape(-1, profile + 1).astype(np.float32))
    weight = torch.zeros(k_u + len(line), len(centre), dtype=centre.dtype)
    constant, gain = weight.new_zeros(len(weight)), weight.new_full((len(weight),), TASTE_GAIN)
    weight[k_u:, k_s:], constant[k_u:], gain[k_u] = line[:, 1:], line[:, 0], 1.0
    weight[:k_u, :k_s], constant[:k_u] = taste / scale[:k_s], taste @ centre[:k_s]
    return centre, scale, weight, constant, gain


def _between(products: Products, within: Doubles, effect: float) -> Doubles:
    """The line (36,) between domains: that ``within`` domains, its slope and constant fitted.

    Of what the overlap says beyond these two numbers, as much is added as it proves.
    """
    width = len(within)
    line = np.where(np.arange(width) > 0, within, 0.0)
    columns = np.column_stack([np.eye(width, 1), line, np.eye(width)[:, 1:]])
    return np.asarray(columns @ averaged_ridge(products.of_columns(columns), FREE, effect))


def _main_directions(vectors: Tensor, size: int) -> Tensor:
    """The first principal directions of uncentred rows, in columns (k, size)."""
    directions: Tensor = torch.linalg.eigh(vectors.T @ vectors).eigenvectors
    return directions[:, -size:]
