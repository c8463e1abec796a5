"""Item kNN: target items that users of both domains chose together with one's source items."""

import numpy as np
import torch
from scipy.sparse import coo_matrix, csr_matrix, vstack
from torch import Tensor

from metaem_core.config.choice import ItemKnnConfig
from metaem_core.data.choices import ChoicePair, Scores
from metaem_core.methods.choice_baselines.joint import ones, shares

BLOCK = 256  # source items whose similarities are computed at once


def item_knn(pair: ChoicePair, config: ItemKnnConfig) -> Scores:
    """``sum_(i in I_u) s_ij + prior p_j``; s_ij the damped cosine of two columns of the matrix.

    A source item lends to its nearest target items alone; p is their popularity.
    """
    source = ones(pair.source)
    similar = similarities(pair, config)
    prior = config.prior * torch.from_numpy(shares(pair.target))

    def scores(users: Tensor) -> Tensor:
        return torch.from_numpy((source[users.numpy()] @ similar).toarray()) + prior

    return scores


def similarities(pair: ChoicePair, config: ItemKnnConfig) -> csr_matrix:
    """(source items, target items): ``|U_i n U_j| / (sqrt(|U_i| |U_j|) + damping)``."""
    mine = ones(pair.source)[pair.train_source.numpy()].T.tocsr()  # (source items, T)
    theirs = ones(pair.target)[pair.train_target.numpy()]
    sizes = [each.popularity().numpy() for each in (pair.source, pair.target)]
    rows = []
    for low in range(0, mine.shape[0], BLOCK):
        common = (mine[low : low + BLOCK] @ theirs).tocoo()  # (BLOCK, target items)
        pairs = sizes[0][low + common.row] * sizes[1][common.col]
        common.data /= np.sqrt(pairs) + config.damping
        rows.append(_nearest(common, config.neighbours))
    return vstack(rows, format="csr")


def _nearest(similarity: coo_matrix, n: int) -> csr_matrix:
    """The n largest of each row."""
    order = np.lexsort((-similarity.data, similarity.row))
    row, column = similarity.row[order], similarity.col[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    kept = place < n
    entries = similarity.data[order][kept], (row[kept], column[kept])
    return csr_matrix(entries, shape=similarity.shape)
