"""The server of one job: it reads it, works over Flower's grid, leaves the result."""

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp

from metaem_core.federated.remote.exchange import Answer
from tasks.flower.job import Job

app = ServerApp()

POLL = 0.2  # seconds between looks for answers


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Do the job that the run's config names."""
    job = Job(Path(str(context.run_config["job"])))
    try:
        link = GridLink(grid, job)
        job.work(link, link.devices())
    except Exception as error:
        job.fail(error)
        raise


class GridLink:
    """Devices behind the grid's nodes; a silent node is waited for until a timeout."""

    def __init__(self, grid: Grid, job: Job) -> None:
        self._grid, self._job = grid, job
        self._home: dict[int, int] = {}  # node of each device

    def devices(self) -> list[int]:
        """Everyone within reach who has ratings, once as many nodes as the job names are there."""
        end = time.monotonic() + self._job.spec["timeout"]
        while len(nodes := list(self._grid.get_node_ids())) < self._job.spec["nodes"]:
            if time.monotonic() > end:
                raise TimeoutError(f"only {len(nodes)} of {self._job.spec['nodes']} nodes came")
            time.sleep(POLL)
        ask = ConfigRecord({"domain": self._job.spec["request"]["domain"]})
        messages = [
            Message(RecordDict({"ask": ask}), dst_node_id=node, message_type=MessageType.QUERY)
            for node in nodes
        ]
        claimed: set[int] = set()
        for reply in self._replies(messages):
            for device in answer_of(reply).get("devices", []):
                if device in self._home:
                    claimed.add(device)  # by two nodes: it is unclear whose it is
                self._home[device] = reply.metadata.src_node_id
        return sorted(self._home.keys() - claimed)

    def train(self, number: int, messages: Mapping[int, bytes]) -> Iterable[Answer]:
        return self._ask(MessageType.TRAIN, number, messages)

    def evaluate(self, number: int, messages: Mapping[int, bytes]) -> Iterable[Answer]:
        return self._ask(MessageType.EVALUATE, number, messages)

    def _ask(self, kind: str, number: int, messages: Mapping[int, bytes]) -> Iterator[Answer]:
        of_node: dict[int, list[int]] = {}
        for device in messages:
            of_node.setdefault(self._home[device], []).append(device)
        sent = []
        for node, devices in of_node.items():
            request = {
                **self._job.spec["request"],
                "number": number,
                "devices": devices,
                "messages": [messages[device] for device in devices],
            }
            content = RecordDict({"round": ConfigRecord(request)})
            sent.append(Message(content, dst_node_id=node, message_type=kind))
        for reply in self._replies(sent):
            answer = answer_of(reply)
            for device, data in zip(
                answer.get("devices", []), answer.get("messages", []), strict=False
            ):
                own = self._home.get(device) == reply.metadata.src_node_id
                if own and isinstance(data, bytes) and isinstance(answer.get("number"), int):
                    yield Answer(answer["number"], device, data)

    def _replies(self, messages: list[Message]) -> Iterator[Message]:
        """Replies as they come, until all are there or the timeout passes."""
        waiting = set(self._grid.push_messages(messages))
        end = time.monotonic() + self._job.spec["timeout"]
        while waiting and time.monotonic() < end:
            for reply in self._grid.pull_messages(waiting):
                waiting.discard(reply.metadata.reply_to_message_id)
                if not reply.has_error():
                    yield reply
            time.sleep(POLL)


def answer_of(reply: Message) -> dict[str, Any]:
    """What a node says; nothing, if it is not of the form that it should be."""
    record = reply.content.config_records.get("answer")
    return dict(record) if record is not None else {}
