"""How a running federation is reached."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from tasks.store.atomic import write_json

QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Connection:
    """Where Flower and its SuperLink are; ``connection.json`` in the federation's folder."""

    flower: str  # bin folder of its environment
    home: str  # FLWR_HOME, which names the SuperLink
    nodes: int
    patience: float  # seconds that a silent node is waited for

    NAME: ClassVar[str] = "connection.json"

    @property
    def environment(self) -> dict[str, str]:
        """What Flower's programs are told: where they are, and to tell nobody."""
        path = f"{self.flower}{os.pathsep}{os.environ.get('PATH', '')}"
        return {**QUIET, "FLWR_HOME": self.home, "PATH": path}

    def write(self, folder: Path) -> None:
        write_json(folder / self.NAME, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Connection":
        """Raises ValueError where no federation is up."""
        path = folder / cls.NAME
        if not path.exists():
            raise ValueError(
                f"no federation is up in {str(folder)!r}: start one with `metaem federation up`"
            )
        return cls(**json.loads(path.read_text()))
