"""A SuperNode's devices: each answers from its own file, and nothing else of it leaves."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import cast

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from safetensors import SafetensorError

from metaem_core.federated.encoding import BadMessage
from metaem_core.federated.secure.aggregation import OutOfTurn
from tasks.flower.node import Node
from tasks.flower.request import Request

app = ClientApp()
SILENT = (BadMessage, OSError, SafetensorError, KeyError, ValueError, OutOfTurn)
logger = logging.getLogger("flwr")


@app.query()
def who(message: Message, context: Context) -> Message:
    """The numbers of the devices here that have ratings in a domain."""
    domain = str(message.content["ask"]["domain"])
    return _reply(message, {"devices": _node(context).domain(domain).devices()})


@app.train()
def train(message: Message, context: Context) -> Message:
    """Each device's part of a round."""
    return _each(message, context, Node.train)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Each device's errors on ratings that do not train."""
    return _each(message, context, Node.evaluate)


def _each(
    message: Message, context: Context, answer: Callable[[Node, Request, int, bytes], bytes]
) -> Message:
    """The answers of the devices here that the message is for; one that cannot is silent."""
    content = message.content["round"]
    request = cast(Request, {name: str(content[name]) for name in Request.__annotations__})
    devices, answers = [], []
    for device, data in zip(content["devices"], content["messages"], strict=True):
        try:
            answers.append(answer(_node(context), request, device, data))
            devices.append(device)
        except SILENT as error:
            logger.warning("device %d does not answer: %s", device, error)
    return _reply(message, {"number": content["number"], "devices": devices, "messages": answers})


def _node(context: Context) -> Node:
    return Node(Path(str(context.node_config["devices"])))


def _reply(message: Message, answer: dict[str, object]) -> Message:
    return Message(RecordDict({"answer": ConfigRecord(answer)}), reply_to=message)
