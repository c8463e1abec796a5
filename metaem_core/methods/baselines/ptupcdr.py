"""PTUPCDR (Zhu et al., WSDM 2022): a personal map for every user, generated from their history.

As released: the history is the source items rated above the scale's middle, of these the last 20
in the items' order, not in time. A user without any gets the map of an empty history (a zero
vector; in the released code: the vector of an untrained item), and no real item counts as padding.
"""

from dataclasses import replace

import torch
from torch import Tensor

from metaem_core.config.transfer import TransferConfig
from metaem_core.data.choices import Choices
from metaem_core.data.ratings import liked
from metaem_core.methods.transfer_problem import ColdModel, OnEpoch, Problem, last_layer, layer
from metaem_core.models.mlp import Parameters, mlp

HISTORY, HIDDEN = 20, 50
CAUTION = 0.3  # of the learning rate where centred: a whole one overfits within an epoch


def ptupcdr(problem: Problem, config: TransferConfig, on_epoch: OnEpoch) -> ColdModel:
    """``min sum (r - u^s M(history) . v^t)^2`` over the training overlap's target ratings."""
    source, target, k = problem.source, problem.target, problem.size
    start = torch.Generator().manual_seed(config.seed)
    attention = *layer(k, k, start), *layer(k, 1, start, bias=False)
    decoder = *layer(k, HIDDEN, start), *last_layer(problem, HIDDEN, k * k, start)
    history = Choices.of(liked(problem.pair.source, config.scale))
    items = source.item_vectors()
    users, rated, values = problem.overlap_ratings()

    def transfer(users: Tensor) -> Tensor:
        places, filled = history.last(users, HISTORY)
        summary = attend(attention, items[places], filled)
        bridge = mlp(decoder, summary, relu_last=False).view(-1, k, k)
        return torch.bmm(source.user_vectors(users).unsqueeze(1), bridge).squeeze(1)

    def loss(batch: Tensor) -> Tensor:
        return (values[batch] - cold.rate(users[batch], rated[batch])).square()

    if target.centred:
        config = replace(config, learning_rate=CAUTION * config.learning_rate)
    cold = ColdModel(problem, transfer, target)
    return cold.train(config, (*attention, *decoder), len(values), loss, on_epoch)


def attend(attention: Parameters, items: Tensor, filled: Tensor) -> Tensor:
    """``sum_j a_j e_j``, ``a = softmax(w . relu(W e_j + b))`` over filled places; (B, n, k)."""
    weight, constant, score = attention
    scores = torch.nn.functional.linear(items, weight, constant).relu() @ score[0]
    share = scores.masked_fill(~filled, -1e8).softmax(1) * filled
    return torch.bmm(share.unsqueeze(1), items).squeeze(1)
