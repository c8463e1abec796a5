"""The perceptron behind meta-network, towers and mapping (Eqs. 4, 5, 6 and 11)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import linear

Parameters = tuple[Tensor, ...]  # (W1, b1, W2, b2, ...), W of shape (out, in)


def init_mlp(widths: Sequence[int], generator: torch.Generator, dtype: torch.dtype) -> Parameters:
    """Glorot-uniform weights and zero biases for layers ``widths[0] -> ... -> widths[-1]``."""
    layers: list[Tensor] = []
    for fan_in, fan_out in pairwise(widths):
        bound = (6 / (fan_in + fan_out)) ** 0.5
        weight = torch.rand(fan_out, fan_in, generator=generator, dtype=dtype)
        layers += [(2 * weight - 1) * bound, torch.zeros(fan_out, dtype=dtype)]
    return tuple(layers)


def mlp(parameters: Parameters, x: Tensor, relu_last: bool) -> Tensor:
    """Eqs. 4-6: ``h_l = ReLU(W_l h_{l-1} + b_l)``; the last ReLU is the paper's, optional here."""
    last = len(parameters) - 2
    for layer in range(0, len(parameters), 2):
        x = linear(x, parameters[layer], parameters[layer + 1])
        if layer < last or relu_last:
            x = x.relu_()
    return x


def stacked_mlp(parameters: Parameters, x: Tensor, relu_last: bool) -> Tensor:
    """:func:`mlp` with one network a group: weights (G, out, in), ``x`` (G, L, in)."""
    last = len(parameters) - 2
    for layer in range(0, len(parameters), 2):
        weight, bias = parameters[layer], parameters[layer + 1]
        x = torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))  # (G, L, out)
        if layer < last or relu_last:
            x = x.relu_()
    return x
