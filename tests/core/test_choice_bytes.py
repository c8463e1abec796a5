"""What the model of choice costs is what its devices are sent and answer."""

from dataclasses import replace

import pytest
import torch

from metaem_core.config.choice import ChoiceConfig
from metaem_core.data.choices import Choices
from metaem_core.federated.choice.bytes import choice_traffic, features_traffic, overlap_traffic
from metaem_core.federated.choice.device import (
    ChoiceDevice,
    CountDevice,
    OverlapDevice,
    OwnChoices,
    choice_step,
    count_message,
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
    work = ChoicePretraining(ChoiceConfig(size=4, leading=3), chosen)
    whole, leading = work.training.server.download(), work.training.server.leading
    summed, alone, down, up = torch.arange(ITEMS) % 3 > 0, torch.zeros(ITEMS, 7), 0, 0
    together = choice_step(whole, leading, summed, chosen)
    for own in OWN:
        count, rows = len(own.items), replace(whole, vectors=whole.vectors[own.items])
        every = Choices(torch.arange(count), torch.tensor([0, count]), count)
        answer = choice_step(rows, leading[own.items], summed[own.items], every)
        alone[own.items] += torch.cat([answer.items, answer.leading], 1)
        sent = {"vectors": rows.vectors, "gram": rows.gram, "leading": leading[own.items]}
        sent["summed"] = summed[own.items]
        down += len(encode(sent))
        up += len(answer.encoded()) + ID_BYTES * count
    torch.testing.assert_close(alone, torch.cat([together.items, together.leading], 1))
    assert work.traffic() == ((down, up), (down, up))
    assert down > 4 * 4 * len(chosen)


@pytest.mark.parametrize("leading", [3, 0])
def test_a_masked_round_costs_what_passes_in_it(leading: int) -> None:
    """Of a source, and of a target, which trains no leading directions."""
    config = ChoiceConfig(size=4, leading=leading, payload="secure")
    server = ChoiceServer(config, torch.zeros(ITEMS, 4), torch.zeros(ITEMS, leading))
    loop = SecureLoop(server, {place: ChoiceDevice(own) for place, own in enumerate(OWN)})
    loop.round([*range(DEVICES)])
    round_ = choice_traffic(config, ITEMS, rows=1, devices=DEVICES)
    assert set(loop.traffic) == {round_}
    counters = {place: CountDevice(own) for place, own in enumerate(OWN)}
    first = SecureLoop(KeptSum((torch.Size((ITEMS,)),), count_message(ITEMS)), counters)
    first.round([*range(DEVICES)])
    epoch, beside = ChoicePretraining(config, choices(MATRIX)).traffic()
    assert epoch == tuple(DEVICES * way for way in round_)
    (once,) = {*first.traffic}
    assert beside == tuple(DEVICES * (way + more) for way, more in zip(round_, once, strict=True))


def test_a_mapping_costs_its_features_and_its_sums() -> None:
    items = ItemFactors.of(torch.ones(ITEMS, 4), 0.1, 0.05)
    features = SourceFeatures(items, torch.ones(4, 3), torch.ones(ITEMS, 2))
    summed = torch.ones(ITEMS, dtype=torch.bool)
    message = {**turned_message(items, torch.eye(4)), "summed": summed}
    counters = {place: CountDevice(own) for place, own in enumerate(OWN)}
    first = SecureLoop(KeptSum((torch.Size((ITEMS,)),), count_message(ITEMS)), counters)
    first.round([*range(DEVICES)])
    devices = {place: OverlapDevice(torch.ones(1, 7), 2, own) for place, own in enumerate(OWN)}
    second = SecureLoop(KeptSum(overlap_shapes(ITEMS, 4, 7, 2), message), devices)
    second.round([*range(DEVICES)])
    ((counted,), (added,)) = {*first.traffic}, {*second.traffic}
    both = counted.down + added.down, counted.up + added.up
    assert overlap_traffic(items, features, DEVICES) == both
    sent = len(encode({**turned_message(items, features.turn), "leading": features.leading}))
    down, up = features_traffic(features)
    assert (down, 0 < up < 200) == (sent, True)
