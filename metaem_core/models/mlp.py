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
    """Eqs. 4-6: ``h_l = ReLU(W_l h_{l-1} + b_l)``; the last ReLU is the paper's, optional here.

    ``x`` is (B, in), or (G, L, in) where each group has a network of its own, W (G, out, in).
    """
    last = len(parameters) - 2
    for layer in range(0, len(parameters), 2):
        weight, bias = parameters[layer : layer + 2]
        if weight.dim() == 2:
            x = linear(x, weight, bias)
        else:
            x = torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))
        if layer < last or relu_last:
            x = x.relu_()
    return x


class Perceptron:
    """:func:`mlp` with its gradient written out, for one block of rows after the other.

    All blocks share one memory: what a layer writes is still in the cache when it is read.
    """

    def __init__(
        self, parameters: Parameters, relu_last: bool, block: int, learns: bool = True
    ) -> None:
        """``block``: most rows at a time; ``learns``: whether the parameters need gradients."""
        self.weights, self.biases, self.learns = parameters[::2], parameters[1::2], learns
        self.gradients: Parameters = ()  # of the parameters, summed over blocks
        self._rectified = len(self.weights) - (not relu_last)  # layers that end in a ReLU
        self._hidden = [w.new_empty(block, len(w)) for w in self.weights[:-1]]
        self._ones = self.weights[0].new_ones(block)
        self._pulls = [w.new_empty(block, w.shape[1]) for w in self.weights]

    def forward(self, x: Tensor, out: Tensor) -> Tensor:
        """``out`` (B, out), filled with the output for the block ``x`` (B, in)."""
        self._layers = [x, *(h[: len(x)] for h in self._hidden), out]
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.mm(x, weight.t(), out=self._layers[layer + 1]).add_(bias)
            if layer < self._rectified:
                x.relu_()
        return x

    def backward(self, pull: Tensor) -> Tensor:
        """The gradient by that block, from the one by its output, ``pull``, which is overwritten.

        What is returned is valid until the next block.
        """
        gradients: list[Tensor] = []
        for layer in reversed(range(len(self.weights))):
            x, y = self._layers[layer : layer + 2]
            if layer < self._rectified:
                torch.ops.aten.threshold_backward.grad_input(pull, y, 0, grad_input=pull)
            if self.learns and self.gradients:
                self.gradients[2 * layer].addmm_(pull.t(), x)
                self.gradients[2 * layer + 1].addmv_(pull.t(), self._ones[: len(pull)])
            elif self.learns:
                gradients[:0] = torch.mm(pull.t(), x), torch.mv(pull.t(), self._ones[: len(pull)])
            pull = torch.mm(pull, self.weights[layer], out=self._pulls[layer][: len(x)])
        self.gradients = self.gradients or tuple(gradients)
        return pull
