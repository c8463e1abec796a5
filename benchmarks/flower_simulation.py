"""Rounds a second of Flower's own simulation beside ours: the same model, devices and cohort.

    python -m venv E && E/bin/pip install -r docker/flower.txt 'flwr[simulation]==1.41.0'
    E/bin/pip install --no-deps --editable . && E/bin/python benchmarks/flower_simulation.py

Both train MetaEM in the layout ``product``. In Flower each device is a virtual SuperNode, served by
Ray, that is sent its message and answers with ``step_answer``, as on a real device. Ours are the
loop that makes the same messages one device after the other, and the batched cohort of ``metaem
run``, which makes none. The first round of each is not counted.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ |= {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
}
sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import torch
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation
from torch import Tensor

from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.ratings import Ratings
from metaem_core.federated.bytes import received_contract
from metaem_core.federated.encoding import decode, encode
from metaem_core.federated.layouts import LayoutCodec
from metaem_core.federated.messages import Download, Upload, combine
from metaem_core.federated.remote.device import step_answer
from metaem_core.federated.rounds import Backend, SimulatedRounds
from metaem_core.federated.simulation import CohortSimulation
from metaem_core.methods.metaem.pretraining import Pretraining
from tests.support.device_loops import MessageLoop

CONFIG = PretrainConfig()
PRODUCT = LayoutCodec("product", torch.Generator())
A_DEVICE = 14  # ratings


def drawn(device: int, items: int) -> tuple[np.ndarray, np.ndarray]:
    """A device's items and stars."""
    draw = np.random.default_rng(device)
    own = np.sort(draw.choice(items, A_DEVICE, replace=False))
    return own, draw.integers(1, 6, A_DEVICE).astype(np.float32)


def world(devices: int, items: int) -> Ratings:
    """All devices' ratings."""
    own, values = zip(*(drawn(device, items) for device in range(devices)), strict=True)
    users = np.repeat(np.arange(devices), A_DEVICE)
    return Ratings(users, np.concatenate(own), np.concatenate(values), devices, items)


def client(items: int) -> ClientApp:
    """A virtual SuperNode, which answers as the device that it is told to be."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        asked = message.content["round"]
        own, values = map(torch.from_numpy, drawn(asked["device"], items))
        form = received_contract("product", items, CONFIG)
        up = step_answer(asked["message"], form, own, values, PRODUCT, CONFIG.relu_last)
        told = ConfigRecord({"device": asked["device"], "message": up})
        return Message(RecordDict({"told": told}), reply_to=message)

    return app


class FlowerBackend:
    """A cohort on Flower's grid, a device a node."""

    def __init__(self, grid: Grid, items: int, size: int) -> None:
        while len(nodes := list(grid.get_node_ids())) < size:
            time.sleep(0.1)
        self._grid, self._items, self._nodes = grid, items, nodes

    def rows(self, cohort: Tensor) -> Tensor:
        return torch.arange(self._items)

    def gather(self, download: Download, cohort: Tensor, rows: Tensor) -> Upload:
        devices = cohort.tolist()
        sent = [download.of_device(place) for place in range(len(devices))]
        asked = [
            RecordDict({"round": ConfigRecord({"device": device, "message": encode(one)})})
            for device, one in zip(devices, map(PRODUCT.pack, sent), strict=True)
        ]
        messages = [
            Message(content, dst_node_id=node, message_type=MessageType.TRAIN)
            for content, node in zip(asked, self._nodes, strict=True)
        ]
        replies = [reply.content["told"] for reply in self._grid.send_and_receive(messages)]
        form = PRODUCT.answer_contract(sent[0])
        found = [
            PRODUCT.gradients(decode(told["message"], form), one)
            for told, one in zip(
                sorted(replies, key=lambda told: told["device"]), sent, strict=True
            )
        ]
        return combine(found, download.per_device)

    def state(self) -> dict[str, Tensor]:
        return {}


def timed(backend: Backend, ratings: Ratings, rounds: int) -> tuple[float, Tensor]:
    """Rounds a second, of the median of ``rounds``, and V^c after them."""
    server = Pretraining(CONFIG, ratings).training.rounds.server
    everyone = torch.arange(ratings.n_users)
    took = []
    for _ in range(rounds + 1):
        begin = time.perf_counter()
        SimulatedRounds(server, backend).round(everyone)
        took.append(time.perf_counter() - begin)
    return 1 / statistics.median(took[1:]), server.model.common_items


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--devices", type=int, default=64)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    devices, items, rounds = options.devices, options.items, options.rounds
    ratings = world(devices, items)
    app = ServerApp()
    found: dict[str, tuple[float, Tensor]] = {}

    @app.main()
    def serve(grid: Grid, context: Context) -> None:
        found["Flower's simulation"] = timed(FlowerBackend(grid, items, devices), ratings, rounds)

    run_simulation(app, client(items), devices)
    ours: dict[str, Callable[[], Backend]] = {
        "our loop, the same messages": lambda: MessageLoop(ratings, torch.float32, PRODUCT),
        "our batched cohort": lambda: CohortSimulation(ratings, torch.float32),
    }
    for name, backend in ours.items():
        found[name] = timed(backend(), ratings, rounds)
    base, theirs = found["Flower's simulation"]
    for name, (rate, items_after) in found.items():
        apart = float((items_after - theirs).abs().max())
        print(
            f"{name:<28} {rate:>8.2f} rounds/s {devices * rate:>9,.0f} devices/s "
            f"{rate / base:>7.1f} x   V^c differs by {apart:.0e}"
        )


if __name__ == "__main__":
    main()
