"""What is done for each row of the fault matrix."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow  # imported here once, not by every child
import sklearn.manifold
import torch

import flows.cli.display
import flows.experiment
import tasks.tracking.mlflow
from tests.faults import inputs, killing, layer, servers, sharing, skew
from tests.faults.command import Product
from tests.faults.suite import Suite
from tests.faults.tally import Injection

PRELOADED = (
    mlflow,
    sklearn.manifold,
    torch,
    flows.experiment,
    flows.cli.display,
    tasks.tracking.mlflow,
)

ROWS: dict[str, tuple[Callable[[Suite], Iterator[Injection]], ...]] = {
    "layer": (layer.layers,),
    "F01": (killing.killed_stages, killing.killed_runs),
    "F03": (servers.killed_servers,),
    "F05": (killing.full_disk,),
    "F06": (killing.refusing_disk,),
    "F15": (sharing.together,),
    "F20": (inputs.odd_inputs,),
    "F26": (skew.wrong_clocks,),
    "F28": (inputs.hostile_names,),
    "F29": (inputs.little_memory,),
    "F30": (inputs.other_circumstances,),
}


def injections(folder: Path, rows: list[str], times: float, seed: int) -> Iterator[Injection]:
    """All of them, as they are done."""
    suite = Suite(Product(folder / "product"), times, random.Random(seed))
    (folder / "product" / "layer").mkdir(parents=True)
    suite.product.prepare()
    for row in rows or ROWS:
        for inject in ROWS[row]:
            yield from inject(suite)
