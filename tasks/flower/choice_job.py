"""The jobs of the model of choice: pretraining, features that stay on devices, the mapping's sums.

All that a server reads is a sum under masks.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from metaem_core.federated.choice.device import (
    COUNTS,
    count_message,
    features_message,
    overlap_shapes,
    turned_message,
)
from metaem_core.federated.choice.server import ChoiceServer
from metaem_core.federated.choice.training import ChoiceTraining
from metaem_core.federated.encoding import encode
from metaem_core.federated.remote.exchange import Exchange
from metaem_core.federated.remote.secure_rounds import LEAST, LinkedRounds, linked_round
from metaem_core.federated.secure.coding import LIMIT
from metaem_core.federated.secure.server import KeptSum
from metaem_core.methods.metaem.choice_pretraining import ChoicePretraining
from metaem_core.models.choice import ItemFactors, enough
from metaem_core.models.choice_mapping import OverlapSums, SourceFeatures
from tasks.flower.reach import require, within
from tasks.flower.request import Configs


def choice_start(work: ChoicePretraining) -> dict[str, Tensor]:
    """What a pretraining begins with: V and Q, and the users whose choices may be used."""
    training, server = work.training, work.training.server
    return {"vectors": server.vectors, "leading": server.leading, "members": training.users}


class LinkedChoices(LinkedRounds):
    """Secure rounds of choices, with a sum that counts them."""

    def counted(self, cohort: Tensor) -> Tensor:
        """How many of the cohort's devices chose each item (n,)."""
        (items, *_) = self.server.shapes
        return counted(items[0], self.exchange, cohort)


def counted(n_items: int, exchange: Exchange, users: Tensor) -> Tensor:
    """The first masked sum of a job: how many of the users' devices chose each item (n,)."""
    counts = KeptSum((torch.Size((n_items,)),), count_message(n_items))
    linked_round(counts, exchange, users.tolist(), LIMIT, COUNTS)
    return counts.sums[0].round()


def choice_trainings(
    configs: Configs, start: Mapping[str, Tensor], exchange: Exchange, devices: Sequence[int]
) -> list[ChoiceTraining]:
    """Epochs of rounds over a link."""
    users = within(start["members"], devices)
    require(users, LEAST, "have choices to train on")
    server = ChoiceServer(configs.choice, start["vectors"].clone(), start["leading"].clone())
    rounds = LinkedChoices(server, exchange)
    return [ChoiceTraining(configs.choice, server, rounds, users)]


def features_start(features: SourceFeatures, members: Tensor) -> dict[str, Tensor]:
    """What devices compute their features from; ``members``: users with a choice."""
    return {**features_message(features), "members": members}


def feature_messages(start: Mapping[str, Tensor], devices: Sequence[int]) -> dict[int, bytes]:
    """The same to every device: what its features are, it computes itself."""
    message = encode({name: part for name, part in start.items() if name != "members"})
    return dict.fromkeys(within(start["members"], devices).tolist(), message)


def overlap_start(
    items: ItemFactors, turn: Tensor, features: SourceFeatures, train: Tensor
) -> dict[str, Tensor]:
    """What the mapping's sums begin with.

    Args:
        turn: user vector -> directions of the target (k, k).
        features: that devices keep.
        train: target users of the training overlap with choices in both domains.
    """
    widths = torch.tensor([features.width, features.p])
    return {**turned_message(items, turn), "widths": widths, "train": train}


def overlap_of(start: Mapping[str, Tensor], exchange: Exchange, users: Tensor) -> dict[str, Tensor]:
    """The sums over the devices of ``users``, by their names in OverlapSums."""
    require(users, LEAST, "train the mapping")
    n, k = start["vectors"].shape
    counts = counted(n, exchange, users)
    turned = {name: start[name] for name in ("vectors", "gram", "turn")}
    message = {**turned, "summed": enough(counts)}
    server = KeptSum(overlap_shapes(n, k, *start["widths"].tolist()), message)
    linked_round(server, exchange, users.tolist(), LIMIT)
    return dict(zip(OverlapSums._fields, server.sums, strict=True))
