"""A SuperNode's devices: each answers from its own file, and nothing else of it leaves."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from safetensors import SafetensorError

from metaem_core.federated.wire import BadMessage
from metaem_core.methods.pretrain_config import PretrainConfig
from tasks.federation import DeviceFolder, config_of

app = ClientApp()
logger = logging.getLogger("flwr")


@app.query()
def who(message: Message, context: Context) -> Message:
    """The numbers of the devices here that have ratings in a domain."""
    domain = str(message.content["ask"]["domain"])
    return _reply(message, {"devices": _folder(context, domain).devices()})


@app.train()
def train(message: Message, context: Context) -> Message:
    """Each device's gradient."""
    return _each(message, context, DeviceFolder.train)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Each device's errors on the ratings it keeps out of training."""
    return _each(message, context, DeviceFolder.evaluate)


def _each(
    message: Message,
    context: Context,
    answer: Callable[[DeviceFolder, int, bytes, PretrainConfig], bytes],
) -> Message:
    """The answers of the devices here that the message is for; one that cannot is silent."""
    asked = message.content["round"]
    config = config_of(json.loads(str(asked["config"])))
    folder = _folder(context, str(asked["domain"]))
    devices, answers = [], []
    for device, data in zip(asked["devices"], asked["messages"], strict=True):
        try:
            answers.append(answer(folder, device, data, config))
            devices.append(device)
        except (BadMessage, OSError, SafetensorError, KeyError, ValueError) as error:
            logger.warning("device %d does not answer: %s", device, error)
    return _reply(message, {"number": asked["number"], "devices": devices, "messages": answers})


def _folder(context: Context, domain: str) -> DeviceFolder:
    return DeviceFolder(Path(str(context.node_config["devices"])) / domain)


def _reply(message: Message, told: dict[str, object]) -> Message:
    return Message(RecordDict({"told": ConfigRecord(told)}), reply_to=message)
