"""f_theta of Eq. 11: a linear start plus an MLP that corrects it."""

from torch import Tensor
from torch.nn.functional import linear

from metaem_core.models.mlp import Parameters, mlp


def map_users(mapping: Parameters, vectors: Tensor) -> Tensor:
    """Eq. 11: ``x = (u - centre) * scale``, ``u_hat^t = W x + w + gain * MLP(x)``.

    Args:
        mapping: centre, scale (k_s,), W (k, k_s), w, gain (k,), then the network.
        vectors: source user vectors (B, k_s).

    Returns:
        Target user vectors (B, k).
    """
    centre, scale, weight, constant, gain, *network = mapping
    x = (vectors - centre) * scale
    return linear(x, weight, constant) + gain * mlp(tuple(network), x, relu_last=False)
