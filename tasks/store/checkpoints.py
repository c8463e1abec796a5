"""A training's last finished epoch, so that a killed run goes on from there."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, uint8

from tasks.store.atomic import plain_disk_errors, replace_atomically

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """One file in a folder of its own, replaced after every epoch."""

    folder: Path

    @property
    def path(self) -> Path:
        """The file that holds the last saved epoch."""
        return self.folder / "checkpoint.safetensors"

    def save(self, epoch: int, state: Mapping[str, Tensor]) -> None:
        """Replace what was saved before, in one step."""
        tensors = {name: tensor.detach().contiguous() for name, tensor in state.items()}
        metadata = {"epoch": str(epoch), "sha256": _digest(tensors)}
        with plain_disk_errors(self.path):
            replace_atomically(self.path, lambda path: save_file(tensors, path, metadata))

    def load(self) -> tuple[int, dict[str, Tensor]] | None:
        """The last saved epoch and state; None without one, or where the file is damaged."""
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata()
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if _digest(state) != metadata["sha256"]:
                raise ValueError("its tensors are not those that were saved")
            return int(metadata["epoch"]), state
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            logger.warning("ignoring a damaged checkpoint, starting over: %s: %s", self.path, error)
            return None


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].cpu().reshape(-1).view(uint8).numpy().data)
    return digest.hexdigest()
