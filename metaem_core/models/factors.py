"""A domain of factors: MF, GMF or a two-tower DNN, the base models of Figure 3."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metaem_core.config.factor import Base
from metaem_core.data.ratings import Ratings
from metaem_core.models.mlp import Parameters, init_mlp, mlp

TOWER = 4  # parameters of a tower: two layers, k -> 2k -> k


@dataclass(frozen=True)
class FactorModel:
    """``r_hat = offset_j + b_i + match(u_i, v_j)``."""

    base: Base  # mf for fcf too
    users: Tensor  # embeddings (m, k)
    items: Tensor  # embeddings (n, k)
    offsets: Tensor  # mean rating + item bias (n,); zeros where uncentred
    bias: Tensor  # of users (m, 1); (m, 0) where uncentred
    head: Parameters  # mf: none; gmf: its weights (k,); dnn: user tower, item tower

    @property
    def centred(self) -> bool:
        return self.bias.shape[1] > 0

    def user_vectors(self, users: Tensor) -> Tensor:
        """What a mapping transfers: embeddings, after the user tower if there is one (B, k)."""
        return user_vectors(self.base, self.head, self.users[users])

    def rate(self, vectors: Tensor, items: Tensor) -> Tensor:
        """Ratings (B,) by user vectors (B, k), bias last where centred, of items (B,)."""
        k = self.items.shape[1]
        mine = item_vectors(self.base, self.head, self.items[items])
        taste = match(self.base, self.head, vectors[:, :k], mine)
        return self.offsets[items] + vectors[:, k:].sum(1) + taste

    def rate_own(self, users: Tensor, items: Tensor) -> Tensor:
        """:meth:`rate` for users of this domain (B,)."""
        vectors = torch.cat([self.user_vectors(users), self.bias[users]], 1)
        return self.rate(vectors, items)

    def item_vectors(self) -> Tensor:
        """All item embeddings, after the item tower if there is one (n, k)."""
        return item_vectors(self.base, self.head, self.items)

    def residuals(self, ratings: Ratings) -> Tensor:
        """``r - offset_j - b_i`` of ratings (R,) by users of this domain."""
        users, items = torch.from_numpy(ratings.users), torch.from_numpy(ratings.items)
        return torch.from_numpy(ratings.values) - self.offsets[items] - self.bias[users].sum(1)

    def flattened(self) -> "FactorModel":
        """The same ratings by plain MF: towers and weights multiplied into the embeddings."""
        users, items = self.user_vectors(torch.arange(len(self.users))), self.item_vectors()
        weighed = items * self.head[0] if self.base == "gmf" else items
        return FactorModel("mf", users, weighed, self.offsets, self.bias, ())


def user_vectors(base: Base, head: Parameters, embeddings: Tensor) -> Tensor:
    """User embeddings (B, k), after the user tower where there is one."""
    return mlp(head[:TOWER], embeddings, relu_last=False) if base == "dnn" else embeddings


def item_vectors(base: Base, head: Parameters, embeddings: Tensor) -> Tensor:
    """Item embeddings (B, k), after the item tower where there is one."""
    return mlp(head[TOWER:], embeddings, relu_last=False) if base == "dnn" else embeddings


def match(base: Base, head: Parameters, users: Tensor, items: Tensor) -> Tensor:
    """``u . v``; GMF weighs the products: ``w . (u * v)`` (He et al. 2017). Shapes (B, k)."""
    products = users * items
    return products @ head[0] if base == "gmf" else products.sum(1)


def init_head(base: Base, size: int, generator: torch.Generator) -> Parameters:
    """Fresh parameters of a base model's head."""
    if base == "mf":
        return ()
    if base == "gmf":
        return (torch.ones(size),)
    tower = (size, 2 * size, size)
    towers = (init_mlp(tower, generator, torch.float32) for _ in range(2))
    return tuple(parameter for parameters in towers for parameter in parameters)
