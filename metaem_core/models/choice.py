"""The model of choice in one domain: who would choose what, as ``u_i . v_j``.

Both sides minimise the whole-data loss of implicit feedback (Hu et al. 2008; Rendle et al. 2021):

    sum_(i chose j) (1 - u_i.v_j)^2 + a sum_(all i, j) (u_i.v_j)^2
        + l2 sum_i (n_i + a n) |u_i|^2 + l2 sum_j (n_j + a m) |v_j|^2

with ``a`` the weight of what was not chosen, ``n`` items, ``m`` users, ``n_i`` and ``n_j`` their
choices. The second term needs the items' Gram matrix alone, so a user's own vector follows from
the items that they chose and k x k numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from metaem_core.data.choices import Choices

AT_ONCE = 1 << 16  # choices whose item vectors are in memory
LEAST = 3  # users that a row of a sum adds up: a row of one user would be theirs


def enough(counts: Tensor) -> Tensor:
    """Which items (n,) LEAST users or more chose; ``counts`` may be masked sums."""
    return counts.round() >= LEAST


@dataclass(frozen=True)
class ItemFactors:
    """Item vectors, and what else decides a user's vector."""

    vectors: Tensor  # V (n, k), or some of its rows
    gram: Tensor  # V'V of all items (k, k)
    unobserved: float  # a
    l2: float
    n_items: int  # n

    @classmethod
    def of(cls, vectors: Tensor, unobserved: float, l2: float) -> "ItemFactors":
        """All items of a domain."""
        return cls(vectors, vectors.T @ vectors, unobserved, l2, len(vectors))

    def fold_in(self, choices: Choices) -> Tensor:
        """The vector of each user (B, k) that minimises the loss, the items fixed; 0 of no choice.

        With ``D = a V'V + l2 (n_i + a n)``, which is diagonal in the eigenvectors of V'V, it is
        ``(V_i'V_i + D)^-1 V_i'1``. A user of fewer than k choices solves n_i equations instead:
        ``D^-1 V_i' e`` with ``e = (1 + V_i D^-1 V_i')^-1 1``, which is ``1 - V_i u`` too.
        """
        return self.fitted(choices)[0]

    def fitted(self, choices: Choices) -> tuple[Tensor, Tensor]:
        """:meth:`fold_in` (B, k), and ``1 - u.v`` of each choice (R,)."""
        values, basis, vectors = self._turned
        users = torch.zeros(choices.n_users, len(values), dtype=vectors.dtype)
        errors = torch.empty(len(choices), dtype=vectors.dtype)
        for owners, places in choices.by_count(AT_ONCE):
            count = places.shape[1]
            ridge = (self.unobserved * values + self._damping(count)).to(vectors.dtype)
            solve = _by_choices if count < len(values) else _by_directions
            turned, errors[places] = solve(vectors[choices.items[places]], ridge)
            users[owners] = turned
        return users @ basis.T, errors

    def parts(
        self, choices: Choices, directions: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """What each choice adds to the user's vector along ``directions`` (B, k, T).

        The vector is ``A^-1 sum_c v_c``, and A is the same for all choices c of the user: c adds
        ``(A^-1 v_c) . direction``.

        Yields:
            Users (b,) with as many choices, their items (b, n), and the parts (b, n, T).
        """
        one = torch.eye(len(self.gram), dtype=self.vectors.dtype)
        for owners, places in choices.by_count(AT_ONCE):
            items = choices.items[places]
            chosen = self.vectors[items]
            everyone = self.unobserved * self.gram + self._damping(items.shape[1]) * one
            square = torch.bmm(chosen.transpose(1, 2), chosen) + everyone
            solved = torch.cholesky_solve(directions[owners], torch.linalg.cholesky(square))
            yield owners, items, torch.bmm(chosen, solved)

    def _damping(self, count: int) -> float:
        return self.l2 * (count + self.unobserved * self.n_items)

    @cached_property
    def _turned(self) -> tuple[Tensor, Tensor, Tensor]:
        """Eigenvalues and eigenvectors of V'V, and V in these directions."""
        values, basis = torch.linalg.eigh(self.gram.double())
        basis = basis.to(self.vectors.dtype)
        return values, basis, self.vectors @ basis


def _by_choices(chosen: Tensor, ridge: Tensor) -> tuple[Tensor, Tensor]:
    """(B, n, k) -> (B, k) and errors (B, n), through n equations."""
    damped = chosen * ridge.rsqrt()
    kernel = torch.bmm(damped, damped.transpose(1, 2))
    kernel.diagonal(dim1=1, dim2=2).add_(1)
    ones = kernel.new_ones(*chosen.shape[:2], 1)
    errors = torch.cholesky_solve(ones, torch.linalg.cholesky(kernel))
    return torch.bmm(chosen.transpose(1, 2), errors).squeeze(2) / ridge, errors.squeeze(2)


def _by_directions(chosen: Tensor, ridge: Tensor) -> tuple[Tensor, Tensor]:
    """(B, n, k) -> (B, k) and errors (B, n), through k equations."""
    square = torch.bmm(chosen.transpose(1, 2), chosen)
    square.diagonal(dim1=1, dim2=2).add_(ridge)
    right = chosen.sum(1).unsqueeze(2)
    users = torch.cholesky_solve(right, torch.linalg.cholesky(square))
    return users.squeeze(2), 1 - torch.bmm(chosen, users).squeeze(2)


@dataclass(frozen=True)
class ChoiceDomain:
    """What pretraining publishes of a domain: nothing of any one user."""

    items: ItemFactors
    popularity: Tensor  # how many users chose each item (n,)
    moments: Tensor  # sum over users of [1, u] [1, u]' (k + 1, k + 1), in float64
    leading: Tensor  # Q (n, p): spans the leading directions of choices at length 1

    @property
    def n_users(self) -> int:
        """Users with a choice."""
        return round(float(self.moments[0, 0]))

    def directions(self) -> tuple[Tensor, Tensor]:
        """Turns ``T_u`` and ``T_v`` (k, k): ``u T_u . v T_v = u . v``, the strongest first.

        The first d columns give the best product of rank d, and both sides have the same Gram
        matrix, which is diagonal: the singular value decomposition of ``U V'``, from Gram matrices.
        """
        gram = self.items.vectors.double().T @ self.items.vectors.double()
        root_u, inverse_u = _root(self.moments[1:, 1:])
        root_v, inverse_v = _root(gram)
        left, values, right = torch.linalg.svd(root_u @ root_v)
        scale = values.sqrt()
        return inverse_u @ left * scale, inverse_v @ right.T * scale


def mean_rows(table: Tensor, choices: Choices) -> Tensor:
    """The mean of the rows of ``table`` (n, p) that each user chose (B, p); 0 of no choice."""
    sums = summed_rows(table, choices.items, choices.start[:-1])
    return sums / choices.counts.clamp_min(1).unsqueeze(1)


def summed_rows(
    table: Tensor, places: Tensor, start: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Sums (S, p) of the rows ``places`` (R,) of ``table`` (n, p), from each ``start`` (S,) on."""
    if table.shape[1] == 0:  # torch's own sum raises on several threads
        return table.new_zeros(len(start), 0)
    summed: Tensor = embedding_bag(places, table, start, mode="sum", per_sample_weights=weights)
    return summed


def places_along(leading: Tensor, choices: Choices) -> Tensor:
    """``x'Q`` (B, p), x each user's choices at length 1, for ``leading`` Q (n, p)."""
    length = choices.counts.to(leading.dtype).sqrt()
    return mean_rows(leading, choices) * length.unsqueeze(1)


def _root(gram: Tensor) -> tuple[Tensor, Tensor]:
    """The symmetric root of a Gram matrix and its (pseudo-)inverse (k, k)."""
    values, basis = torch.linalg.eigh(gram)
    large = values > 1e-12 * values.max()
    root = values.clamp_min(0).sqrt()
    inverse = torch.where(large, 1 / root.clamp_min(1e-300), torch.zeros_like(root))
    return basis * root @ basis.T, basis * inverse @ basis.T
