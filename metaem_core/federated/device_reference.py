"""One device's step as the paper writes it, by autograd: slow, and easy to check.

:func:`metaem_core.federated.device.device_step` computes the same for a whole cohort, fast. A
property test holds it to :func:`reference_step`, and the forward pass to :func:`predicted_ratings`.
"""

from torch import Tensor
from torch.autograd import grad
from torch.nn.functional import linear

from metaem_core.federated.device import PrivateRatings
from metaem_core.federated.messages import Download, Upload, tensors_of
from metaem_core.models.forward import PredictionInputs


def reference_step(download: Download, ratings: PrivateRatings) -> Upload:
    """Algorithm 1, lines 6 to 8, or Algorithm 2, lines 5 and 6, for one device (S = 1)."""
    received = {  # line 6; the server wants their gradients
        name: tuple(tensor.clone().requires_grad_() for tensor in tensors_of(download, name))
        for name in sorted(download.trained)
    }
    predicted = predicted_ratings(download.replaced(received), ratings.rows)
    loss = (ratings.values - predicted).square().sum()  # Eq. 8, or Eq. 14 in the mapping stage
    gradients = {name: grad(loss, own, retain_graph=True) for name, own in received.items()}
    return Upload(gradients, loss.item(), len(predicted))  # line 8; Eqs. 9-10 are the server's


def predicted_ratings(received: PredictionInputs, rows: Tensor) -> Tensor:
    """One user's ratings of the items at ``rows`` (R,) of what their device received; (R,)."""
    private_items = received.private_items[0]  # g(u_i) of Eqs. 3 and 4, from the server
    items = received.common_items[rows] @ private_items  # Eq. 2: V_ui = V^c V^p, (R, k_p)
    vectors = item_tower(received, items)  # Eq. 6: v_hat, (R, k_u)
    k_u = vectors.shape[1]
    user, weights = received.user_vectors[0, :k_u], received.user_vectors[0, k_u:]
    taste = vectors @ user  # Eq. 7, or Eq. 13 in the mapping stage
    return taste + received.item_offsets[rows] + received.item_features[rows] @ weights


def item_tower(received: PredictionInputs, items: Tensor) -> Tensor:
    """Eq. 6, ``h_l = ReLU(W_l h_{l-1} + b_l)``, from the items (R, k_p) to vectors (R, k_u)."""
    shared = received.item_tower
    layers = [layer[0] for layer in shared] if received.personal_tower else shared
    hidden = items
    for weight, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
        hidden = linear(hidden, weight, bias).relu()
    vectors = linear(hidden, *layers[-2:])
    return vectors.relu() if received.relu_last else vectors
