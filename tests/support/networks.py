"""Networks of torch's own modules, to hold ours to."""

from torch import Tensor
from torch.nn import Linear, Module, ReLU, Sequential


def sequential(parameters: tuple[Tensor, ...], relu_last: bool = False) -> Sequential:
    """The MLP of these weights and biases, in turn."""
    layers: list[Module] = []
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        layer = Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
        layer.load_state_dict({"weight": weight.detach(), "bias": bias.detach()})
        layers += [layer, ReLU()]
    return Sequential(*(layers if relu_last else layers[:-1]))
