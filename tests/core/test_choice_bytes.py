"""What the model of choice costs is what its devices are sent and answer."""

from dataclasses import replace

import torch

from metaem_core.config.choice import ChoiceConfig
from metaem_core.data.choices import Choices
from metaem_core.federated.choice.bytes import choice_traffic, features_traffic, overlap_traffic
from metaem_core.federated.choice.device import (
    ChoiceDevice,
    OverlapDevice,
    OwnChoices,
    choice_step,
    overlap_shapes,
    turned_message,
)
from metaem_core.federated.choice.server import ChoiceServer
from metaem_core.federated.encoding import ID_BYTES, encode
from metaem_core.federated.secure.server import KeptSum
from metaem_core.methods.metaem.choice_pretraining import ChoicePretraining
from metaem_core.models.choice import ItemFactors
from metaem_core.models.choice_mapping import SourceFeatures
from tests.core.test_choice import choices, world
from tests.support.secure_loop import SecureLoop

DEVICES, ITEMS = 8, 12
MATRIX = world(DEVICES + 1, ITEMS, 0.4)[1:]
OWN = [OwnChoices(row.nonzero().flatten(), 0.1, 0.05) for row in MATRIX]


def test_an_open_epoch_costs_what_its_devices_send_and_says_as_much() -> None:
    """Each is sent the rows that it requests; the answers add up to those of one batch."""
    chosen = choices(MATRIX)
    work = ChoicePretraining(ChoiceConfig(size=4), chosen)
    whole = work.training.server.download()
    together, alone, down, up = choice_step(whole, chosen), torch.zeros(ITEMS, 5), 0, 0
    for own in OWN:
        count, rows = len(own.items), replace(whole, vectors=whole.vectors[own.items])
        every = Choices(torch.arange(count), torch.tensor([0, count]), count)
        answer = choice_step(rows, every)
        alone[own.items] += answer.items
        down += len(encode({"vectors": rows.vectors, "gram": rows.gram}))
        up += len(answer.encoded()) + ID_BYTES * count
    torch.testing.assert_close(alone, together.items)
    assert work.traffic() == (down, up)
    assert down > 4 * 4 * len(chosen)


def test_a_masked_round_costs_what_passes_in_it() -> None:
    config = ChoiceConfig(size=4, payload="secure", cohort_size=DEVICES)
    server = ChoiceServer(config, torch.zeros(ITEMS, 4))
    loop = SecureLoop(server, {place: ChoiceDevice(own) for place, own in enumerate(OWN)})
    loop.round([*range(DEVICES)])
    assert set(loop.traffic) == {choice_traffic(config, ITEMS, rows=1)}


def test_a_mapping_costs_its_features_and_its_sums() -> None:
    items, features = ItemFactors.of(torch.ones(ITEMS, 4), 0.1, 0.05), torch.ones(1, 1 + 3)
    message, shapes = turned_message(items, torch.eye(4)), overlap_shapes(ITEMS, 4, 1 + 3)
    devices = {place: OverlapDevice(features, own) for place, own in enumerate(OWN)}
    loop = SecureLoop(KeptSum(shapes, message), devices)
    loop.round([*range(DEVICES)])
    assert set(loop.traffic) == {overlap_traffic(items, 1 + 3, DEVICES)}
    turn = torch.ones(4, 3)
    sent = len(encode(turned_message(items, turn)))
    down, up = features_traffic(SourceFeatures(items, turn))
    assert (down, 0 < up < 200) == (sent, True)
