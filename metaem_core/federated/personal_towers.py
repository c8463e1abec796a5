"""MLP_item kept and trained on each device, as Section 3.2 has it (Device_paras)."""

from dataclasses import replace

from torch import Tensor

from metaem_core.federated.messages import Download, Upload
from metaem_core.federated.rounds import Backend
from metaem_core.models.mlp import Parameters
from metaem_core.training.optimizers import LazyAdam


class PersonalTowers:
    """Adds each device's own tower to what it received and keeps its gradient on the device.

    All devices begin with the same copy. A device that never trained has no tower of its own: it
    is given the :meth:`average` of those that did.
    """

    def __init__(
        self, backend: Backend, start: Parameters, devices: int, learning_rate: float, l2: float
    ) -> None:
        self.backend = backend
        stacked = [p.expand(devices, *p.shape).clone() for p in start]
        self.optimizers = [LazyAdam(p, learning_rate, l2) for p in stacked]

    def rows(self, cohort: Tensor) -> Tensor:
        return self.backend.rows(cohort)

    def gather(self, download: Download, cohort: Tensor, rows: Tensor) -> Upload:
        """Algorithm 1, line 9: each device steps its own tower."""
        own = tuple(o.table.index_select(0, cohort) for o in self.optimizers)
        answer = self.backend.gather(download.replaced({"item_tower": own}), cohort, rows)
        share = 1 / answer.n_ratings
        for optimizer, gradient in zip(
            self.optimizers, answer.gradients["item_tower"], strict=True
        ):
            optimizer.update(cohort, gradient * share)
        uploaded = {n: g for n, g in answer.gradients.items() if n != "item_tower"}
        return replace(answer, gradients=uploaded)

    def average(self) -> Parameters:
        """The mean tower of the devices that trained; the common start before any did."""
        trained = self.optimizers[0].steps.flatten() > 0
        chosen = trained if bool(trained.any()) else ~trained
        return tuple(o.table[chosen].mean(0) for o in self.optimizers)

    def state(self) -> dict[str, Tensor]:
        return {
            f"device.{i}.{name}": tensor
            for i, optimizer in enumerate(self.optimizers)
            for name, tensor in optimizer.state().items()
        }
