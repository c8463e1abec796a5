"""What travels: exact gradients, bytes counted, bad messages refused."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from typer.testing import CliRunner

from flows.cli import app
from metaem_core.federated.costs import WAYS, DomainShape, exchanged, traffic
from metaem_core.federated.exchange import MessageLoop
from metaem_core.federated.payloads import (
    LiteralPayload,
    Mode,
    Payload,
    ProductPayload,
    RowsPayload,
    payload_of,
)
from metaem_core.federated.rounding import LEVELS, from_int8, to_int8
from metaem_core.federated.simulation import CohortSimulation
from metaem_core.federated.wire import BadMessage, contract_of, decode, encode
from metaem_core.methods.pretrain_config import PretrainConfig
from tests.test_federated import RATINGS, pretraining, round_gradients, worst_error


@pytest.mark.parametrize("payload", [LiteralPayload(), ProductPayload()])
@pytest.mark.parametrize("base", ["dnn", "mf"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_exact_layouts_give_the_gradient_of_the_simulation(
    payload: Payload, base: str, dtype: torch.dtype
) -> None:
    stage = pretraining(dtype, base=base)
    by_bytes = round_gradients(stage, MessageLoop(RATINGS, dtype, payload))
    at_once = round_gradients(stage, CohortSimulation(RATINGS, dtype))
    assert worst_error(by_bytes, at_once) < {torch.float64: 1e-12, torch.float32: 2e-6}[dtype]


def test_rounded_rows_give_nearly_the_gradient() -> None:
    stage = pretraining(torch.float64)
    exact = round_gradients(stage, CohortSimulation(RATINGS, torch.float64))
    payload = RowsPayload(torch.Generator().manual_seed(5))
    rounded = round_gradients(stage, MessageLoop(RATINGS, torch.float64, payload))
    assert 1e-4 < worst_error(rounded, exact) < 0.1


def test_a_layout_carries_the_bytes_of_what_it_says() -> None:
    """64-bit numbers; everything but the tensors is under two kilobytes."""
    stage = pretraining(torch.float64)
    n, k, k_p = RATINGS.n_items, stage.config.common_size, stage.config.private_size
    device = torch.tensor([5])
    count = int((RATINGS.users == 5).sum())
    tower = sum(p.numel() for p in stage._model.item_tower)
    both = 1 + stage.config.user_size + 3 + tower  # squared error, user and MLP_item
    constants = n * 4
    expected = {
        LiteralPayload(): (n * k + k * k_p + constants + both, n * k + k * k_p + both),
        ProductPayload(): (n * k_p + constants + both, n * k_p + both),
    }
    for payload, (down, up) in expected.items():
        loop = MessageLoop(RATINGS, torch.float64, payload)
        download = stage.training.server.download(device, loop.rows(device))
        loop.gather(download, device, loop.rows(device))
        (traffic,) = loop.traffic
        assert 8 * down - 8 < traffic.down < 8 * down + 2000
        assert 8 * up < traffic.up < 8 * up + 2000
    loop = MessageLoop(RATINGS, torch.float64, RowsPayload(torch.Generator()))
    download = stage.training.server.download(device, loop.rows(device))
    loop.gather(download, device, loop.rows(device))
    (traffic,) = loop.traffic
    assert traffic.down < count * (k_p + 8 + 8 * 4) + tower + 8 * (k + 3 + 24 + 24 + k) + 3000
    assert traffic.up < count * (k_p + 8 + 4) + 8 * (tower + k + 3 + 1) + 2000


@pytest.mark.parametrize("way", ["literal", "product", "rows"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"base": "mf", "centred": False},
        {"user_size": 5, "common_size": 3, "private_size": 7},
    ],
)
def test_costs_are_those_of_rounds_that_were_run(way: Mode, options: dict[str, object]) -> None:
    stage = pretraining(torch.float32, **options)
    device = torch.tensor([8])
    loop = MessageLoop(RATINGS, torch.float32, payload_of(way, torch.Generator()))
    rows = loop.rows(device)
    loop.gather(stage.training.server.download(device, rows), device, rows)
    count = int((RATINGS.users == 8).sum())
    asked = count if way == "rows" else RATINGS.n_items
    assert loop.traffic == [exchanged(way, asked, stage.config)]
    assert way == "rows" or loop.traffic == [
        traffic(way, DomainShape(RATINGS.n_items, count), stage.config)
    ]


def test_the_claims_about_bytes_hold_at_the_papers_sizes() -> None:
    """Music of Table 2: literal costs more than FCF, the product a third, rows under 1 %."""
    config, music = PretrainConfig(), DomainShape(64_443, 15)
    fcf, small, literal, product, rows = (traffic(way, music, config).both for way in WAYS)
    assert literal > fcf
    assert small < product < fcf / 3
    assert rows < 0.01 * fcf


def test_the_command_counts_both_domains_of_a_task() -> None:
    shown = CliRunner().invoke(app, ["bytes", "--task", "book-movie"])
    assert shown.exit_code == 0
    assert "367,982 items" in shown.output
    assert "50,052 items" in shown.output
    refused = CliRunner().invoke(app, ["bytes", "--task", "movie-games"])
    assert refused.exit_code == 2
    assert "--task: Table 2 has no domain 'games'" in refused.output


@given(st.integers(0, 2**32 - 1), st.floats(1e-20, 1e20))
def test_rounding_moves_a_number_by_less_than_its_rows_unit(seed: int, size: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    values = torch.randn(5, 7, generator=draw, dtype=torch.float64) * size
    values[2] = 0
    multiples, units = to_int8(values, draw)
    assert int(multiples.abs().max()) <= LEVELS
    assert bool(((from_int8(multiples, units) - values).abs() <= units.unsqueeze(1) * 1.0001).all())


def test_rounding_has_no_bias() -> None:
    draw = torch.Generator().manual_seed(0)
    values = torch.tensor([[0.3, -0.71, 1.0, 0.004]], dtype=torch.float64).expand(40_000, 4)
    error = from_int8(*to_int8(values, draw)) - values
    assert bool((error.mean(0).abs() < 5 * error.std(0) / 200 + 1e-12).all())
    assert float(error[:, 0].std()) > 1e-3


def test_a_message_must_hold_what_its_contract_says() -> None:
    message = {"u": torch.ones(2, 3), "v": torch.zeros(4)}
    contract = contract_of(message)
    assert torch.equal(decode(encode(message), contract)["u"], message["u"])
    bad = {
        "not a message": b"nonsense",
        "cut": encode(message)[:-3],
        "holds": encode({**message, "ratings": torch.ones(1)}),
        "lacks": encode({"u": message["u"]}),
        "shape": encode({**message, "u": torch.ones(3, 2)}),
        "type": encode({**message, "v": torch.zeros(4, dtype=torch.float64)}),
        "finite": encode({**message, "v": torch.tensor([0, 1, 2, float("nan")])}),
    }
    for data in bad.values():
        with pytest.raises(BadMessage):
            decode(data, contract)
