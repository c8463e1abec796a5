"""The jobs of the model of stars: pretraining, vectors on devices, the mapping and its start."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from metaem_core.federated.bytes import nobody
from metaem_core.federated.encoding import encode
from metaem_core.federated.layouts import LayoutCodec
from metaem_core.federated.remote.exchange import Exchange
from metaem_core.federated.remote.mapping import RemoteMapping, SumMappingServer
from metaem_core.federated.remote.pretraining import RemoteRounds
from metaem_core.federated.remote.secure_rounds import LEAST
from metaem_core.federated.rounds import whole_cohorts
from metaem_core.federated.secure.pretraining import broadcast, received
from metaem_core.federated.training import Training
from metaem_core.methods.metaem.mapping import MappingTraining
from metaem_core.methods.metaem.mapping_start import SourceView, TargetView, transfer_lines
from metaem_core.methods.metaem.mapping_start_secure import RemoteStart, views_message, views_of
from metaem_core.methods.metaem.pretraining import live_tensors, pretrain_server
from metaem_core.models.metaem import DomainModel, domain_of, flat, network
from metaem_core.training.optimizers import NetworkAdam
from tasks.flower.reach import require, within
from tasks.flower.request import Configs, layout_of

CONSTANTS = ("item_offsets", "item_features", "user_profiles")


def pretrain_start(
    model: DomainModel, of_user: Tensor, of_item: Tensor, members: Tensor
) -> dict[str, Tensor]:
    """What a pretraining begins with.

    Args:
        of_user, of_item: how many ratings each trains on (m,), (n,).
        members: users (M,) whose ratings may be used at all.
    """
    counts = {"of_user": of_user, "of_item": of_item, "members": members}
    return {**live_tensors(model), **{n: getattr(model, n) for n in CONSTANTS}, **counts}


def pretrainings(
    configs: Configs, start: Mapping[str, Tensor], exchange: Exchange, devices: Sequence[int]
) -> list[Training]:
    """Algorithm 1 over a link."""
    config = configs.pretrain
    model = domain_of(start, config.relu_last, config.meta_reads_raw)
    server = pretrain_server(config, model, start["of_user"], start["of_item"])
    codec = LayoutCodec(layout_of(config), torch.Generator())
    rounds = RemoteRounds(server, exchange, codec, start["of_user"])
    members = within(start["members"], devices)
    users = members[start["of_user"][members] > 0]
    if not len(users):
        raise ValueError("no device within reach has ratings to train on")
    live, validate = live_tensors(model), partial(rounds.validate, members)
    return [Training(rounds, users, config, live, validate)]


def mapping_start(work: MappingTraining, train: Tensor, validation: Tensor) -> dict[str, Tensor]:
    """What a mapping begins with; ``train`` and ``validation``: target users with these roles."""
    theta = flat("start", work.start) | flat("shown", work.trusted) | flat("network", work.network)
    return {**theta, **broadcast(work.target), "train": train, "validation": validation}


def mapping_trainings(
    configs: Configs, start: Mapping[str, Tensor], exchange: Exchange, devices: Sequence[int]
) -> list[Training]:
    """Algorithm 2 over a link, once a learning rate."""
    config, target = configs.mapping, received(start, nobody(0, configs.pretrain))
    users, validators = (within(start[role], devices) for role in ("train", "validation"))
    require(users, LEAST, "train the mapping")
    require(validators, 1, "validate the mapping")
    trainings = []
    for rate in config.learning_rates:
        correction = tuple(part.clone() for part in network(start, "network"))
        server = SumMappingServer(
            network(start, "start"), correction, target, NetworkAdam(correction, rate, config.l2)
        )
        rounds = RemoteMapping(server, exchange, network(start, "shown"))
        live = {str(i): part for i, part in enumerate(correction)}
        trainings.append(
            Training(
                rounds, users, config, live, partial(rounds.validate, validators), whole_cohorts
            )
        )
    return trainings


def views_start(source: SourceView, target: TargetView, train: Tensor) -> dict[str, Tensor]:
    """What finding theta's start begins with; ``train``: target users of the training overlap."""
    return {**views_message(source, target), "train": train}


def theta_start(
    start: Mapping[str, Tensor], exchange: Exchange, users: Tensor
) -> dict[str, Tensor]:
    """Theta's start by name, from sums of the devices of ``users``.

    Raises:
        ValueError: there are too few.
    """
    require(users, LEAST, "train the mapping")
    views = {n: part for n, part in start.items() if n.startswith(("source.", "target."))}
    sums = RemoteStart(exchange, views, users.tolist())
    lines = transfer_lines(*views_of(views), sums)
    return {name: part.contiguous() for name, part in flat("start", lines).items()}


def vector_messages(start: Mapping[str, Tensor], devices: Sequence[int]) -> dict[int, bytes]:
    """Its user's vector to each device."""
    profiles = start["profiles"]
    return {device: encode({"profile": profiles[device : device + 1]}) for device in devices}
