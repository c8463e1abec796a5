"""The server half of rounds of choices: V and Q, stepped once an epoch by sums over all devices.

Devices count once how many of them chose each item, and add nothing to the rows of items that few
did: a row of one user would be theirs.

An exact step would solve ``sum_(i chose j) u_i u_i'`` for each item, k^2 numbers an item. Here that
matrix is ``n_j C`` with one ``C = sum n_i u_i u_i' / sum n_i`` for all items: a quasi-Newton step
for which a device sends k numbers an item. Twice ``C`` damps it. One eigendecomposition solves all
items, because their matrices ``n_j (2 C + l2) + a (U'U + l2 m)`` differ in ``n_j`` alone.

Q (n, p) holds the leading directions of what users chose. Each user's choices have length 1, and
an item that n_j users chose counts ``n_j^-RARITY``. Q comes from subspace iteration: a device
multiplies by its user's choices twice, the server orthonormalises the sum.
"""

import torch
from torch import Tensor

from metaem_core.config.choice import ChoiceConfig
from metaem_core.federated.choice.device import CURVATURE_UNIT, ChoiceUpload
from metaem_core.federated.encoding import Message
from metaem_core.federated.rounds import RoundStats
from metaem_core.federated.secure.coding import Closing, Totals
from metaem_core.models.choice import ItemFactors, enough

DAMPED = 2.0  # times C
RARITY = 0.25


class ChoiceServer:
    """V and Q of one domain, how many users chose each item, and the sums of the epoch so far."""

    def __init__(self, config: ChoiceConfig, vectors: Tensor, leading: Tensor) -> None:
        """Steps ``vectors`` (n, k) and ``leading`` (n, p) in place."""
        self._config, self.vectors, self.leading = config, vectors, leading
        n, k = vectors.shape
        self.popularity = torch.zeros(n, dtype=torch.float64)
        self._items = torch.zeros(n, k, dtype=torch.float64)
        self._moments = torch.zeros(k + 1, k + 1, dtype=torch.float64)
        self._curvature = torch.zeros(k, k, dtype=torch.float64)
        self._leading = torch.zeros(leading.shape, dtype=torch.float64)
        self.read_vectors()

    def read_vectors(self) -> None:
        """Take V as it is now."""
        self._gram = self.vectors.T @ self.vectors

    @property
    def shapes(self) -> tuple[torch.Size, ...]:
        """Of the sums."""
        return tuple(each.shape for each in self._sums)

    @property
    def _sums(self) -> tuple[Tensor, ...]:
        return self._items, self._moments, self._curvature, self._leading

    def download(self) -> ItemFactors:
        """V and what else decides a user's vector."""
        config = self._config
        return ItemFactors(
            self.vectors, self._gram, config.unobserved, config.l2, len(self.vectors)
        )

    def broadcast(self) -> Message:
        """What every device of a masked round is sent."""
        parts = {"vectors": self.vectors, "gram": self._gram, "leading": self.leading}
        return {**parts, "summed": enough(self.popularity)}

    def collect(self, upload: ChoiceUpload) -> None:
        """Add a cohort's sums."""
        self._add(upload.tensors)

    def apply(self, gradients: list[Tensor], totals: Totals) -> tuple[RoundStats, Closing]:
        """Add a masked cohort's sums."""
        items, moments, curvature, leading = gradients
        self._add([items, moments, curvature * CURVATURE_UNIT, leading])
        return RoundStats(totals.squared_error, round(totals.n_ratings)), Closing(0, 0.0)

    def _add(self, parts: list[Tensor]) -> None:
        for sums, part in zip(self._sums, parts, strict=True):
            sums += part

    def step(self) -> None:
        """Move V and Q by the epoch's sums."""
        if float(self._moments[0, 0]) == 0:
            raise ValueError("no device has a choice to learn from; check the filter and the split")
        n_users, gram = float(self._moments[0, 0]), self._moments[1:, 1:]
        a, l2, counts = self._config.unobserved, self._config.l2, self.popularity.unsqueeze(1)
        vectors = self.vectors.double()
        pull = self._items - a * vectors @ gram - l2 * (counts + a * n_users) * vectors
        one = torch.eye(len(gram), dtype=torch.float64)
        shared = DAMPED * self._curvature / counts.sum() + l2 * one
        values, basis = generalised_eigen(shared, a * (gram + l2 * n_users * one))
        self.vectors += ((pull @ basis) / (counts * values + 1) @ basis.T).to(self.vectors.dtype)
        self.leading.copy_(leading_directions(self._leading, counts))
        self.read_vectors()

    def begin(self) -> None:
        """Forget the sums."""
        for sums in self._sums:
            sums.zero_()

    @property
    def moments(self) -> Tensor:
        """Sum over users of [1, u] [1, u]' (k + 1, k + 1), of the epoch so far."""
        return self._moments

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint between epochs must hold."""
        names = "items", "moments", "curvature", "leading_sums"
        sums = dict(zip(names, self._sums, strict=True))
        kept = {"vectors": self.vectors, "leading": self.leading, "popularity": self.popularity}
        return {**kept, **sums}


def generalised_eigen(matrix: Tensor, metric: Tensor) -> tuple[Tensor, Tensor]:
    """``P' metric P = 1`` and ``P' matrix P = diag(values)``; symmetric, in float64."""
    inverse = torch.linalg.inv(torch.linalg.cholesky(metric))
    values, basis = torch.linalg.eigh(inverse @ matrix @ inverse.T)
    return values, inverse.T @ basis


def leading_directions(sums: Tensor, counts: Tensor) -> Tensor:
    """Q (n, p) after a pass, in a unit in which an average user's choices have length 1.

    Args:
        sums: ``x (x'Q)`` summed over users, x their choices at length 1 (n, p).
        counts: how many users chose each item (n, 1).
    """
    rarity = counts.clamp_min(1) ** -RARITY
    unit = (counts.sum() / (counts * rarity.square()).sum()).sqrt()
    scaled = rarity * sums
    values, basis = torch.linalg.eigh(scaled.T @ scaled)
    length = values.clamp_min(1e-12 * float(values.sum())).sqrt()  # fewer directions than p: zeros
    leading: Tensor = scaled @ basis / length
    return unit * rarity * leading
