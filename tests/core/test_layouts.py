"""What travels: exact gradients, bytes counted, bad messages refused."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from typer.testing import CliRunner

from flows.cli.main import app
from metaem_core.config.pretrain import OpenLayout, PretrainConfig
from metaem_core.federated.bytes import WAYS, DomainShape, exchanged, traffic
from metaem_core.federated.encoding import BadMessage, contract_of, decode, digest, encode
from metaem_core.federated.layouts import LayoutCodec
from metaem_core.federated.messages import tensors_of
from metaem_core.federated.quantization import LEVELS, from_int8, to_int8
from metaem_core.federated.server import MappingServer
from metaem_core.federated.simulation import CohortSimulation
from metaem_core.methods.metaem.pretraining import Pretraining
from tasks.tracking.runs import described
from tests.conftest import FinishedRun
from tests.core.test_federated import RATINGS, pretraining, round_gradients, worst_error
from tests.core.test_mapping import stage as mapping_stage
from tests.support.device_loops import MessageLoop
from tests.support.worlds import planted_ratings


@pytest.mark.parametrize(
    "codec", [LayoutCodec("literal", torch.Generator()), LayoutCodec("product", torch.Generator())]
)
@pytest.mark.parametrize("base", ["dnn", "mf"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_exact_layouts_give_the_gradient_of_the_simulation(
    codec: LayoutCodec, base: str, dtype: torch.dtype
) -> None:
    stage = pretraining(dtype, base=base)
    by_bytes = round_gradients(stage, MessageLoop(RATINGS, dtype, codec))
    at_once = round_gradients(stage, CohortSimulation(RATINGS, dtype))
    assert worst_error(by_bytes, at_once) < {torch.float64: 1e-12, torch.float32: 2e-6}[dtype]


def test_rounded_rows_give_nearly_the_gradient() -> None:
    stage = pretraining(torch.float64)
    exact = round_gradients(stage, CohortSimulation(RATINGS, torch.float64))
    codec = LayoutCodec("rows", torch.Generator().manual_seed(5))
    rounded = round_gradients(stage, MessageLoop(RATINGS, torch.float64, codec))
    assert 1e-4 < worst_error(rounded, exact) < 0.1


def test_the_simulation_rounds_as_the_messages_do() -> None:
    """Both ways the mean gradient is the same, and its spread; one tower of one layer."""
    stage = pretraining(torch.float64, base="mf")
    exact = round_gradients(stage, CohortSimulation(RATINGS, torch.float64))
    loop = MessageLoop(
        RATINGS, torch.float64, LayoutCodec("rows", torch.Generator().manual_seed(1))
    )
    backends = {
        "messages": [loop] * 60,
        "at once": [CohortSimulation(RATINGS, torch.float64, seed) for seed in range(60)],
    }
    drawn = {
        how: [
            torch.stack(part)
            for part in zip(*(round_gradients(stage, b) for b in them), strict=True)
        ]
        for how, them in backends.items()
    }
    for one, other, truth in zip(*drawn.values(), exact, strict=True):
        spread = (one.var(0) + other.var(0)).sum().sqrt() / 60**0.5
        assert float((one.mean(0) - other.mean(0)).norm()) < 3 * float(spread) + 1e-12
        noise = [
            float((each - truth).norm(dim=tuple(range(1, each.dim()))).mean())
            for each in (one, other)
        ]
        assert noise[0] == pytest.approx(noise[1], rel=0.35, abs=1e-9)


def test_training_in_rows_ends_where_exact_training_does() -> None:
    world, ends = planted_ratings(growth=0.3), []
    for layout in ("product", "rows"):
        stage = Pretraining(PretrainConfig(payload=layout, epochs=6), world)
        for _ in stage.training.epochs(lambda stats: None):
            pass
        ends.append(stage.training.best_rmse)
    start = float(world.values.std())
    assert ends[1] == pytest.approx(ends[0], rel=0.005)
    assert ends[0] < 0.97 * start


def test_an_epochs_bytes_are_those_of_its_devices() -> None:
    """Against the rounds themselves, device by device."""
    for layout in ("literal", "product", "rows"):
        stage = pretraining(torch.float32, payload=layout)
        everyone = stage.training.users
        codec = LayoutCodec(layout, torch.Generator())
        seen = (
            stage.training.rounds.backend.devices
        )  # what is left of the ratings after the holdout
        loop = MessageLoop(RATINGS, torch.float32, codec)
        loop.devices = seen
        rows = loop.rows(everyone)
        loop.gather(stage.training.rounds.server.download(everyone, rows), everyone, rows)
        assert stage.traffic().down == sum(each.down for each in loop.traffic)
        assert stage.traffic().up == sum(each.up for each in loop.traffic)


def test_a_run_tells_its_bytes(finished_run: FinishedRun) -> None:
    store = finished_run.store
    ref = dict(finished_run.outcome.artifacts)["pretrain movie seed 1"]
    traffic = store.read_frame(ref, "traffic.parquet")
    epochs = len(store.read_frame(ref, "curve.parquet"))
    down = dict(zip(traffic["span"].to_list(), traffic["down"].to_list(), strict=True))
    assert down["run"] == epochs * down["epoch"]
    assert 0 < down["device"] < down["round"] <= down["epoch"]
    points = {
        p.metric: p.value for p in described(store, finished_run.outcome.evaluations[0]).points
    }
    assert points["source_model/bytes_down_run"] == down["run"]


@pytest.mark.parametrize("loss", ["task", "distance"])
def test_a_mappings_bytes_are_those_of_its_devices(loss: str) -> None:
    """What its server hands one of them in a round, and the frozen model once."""
    work, _, model = mapping_stage(loss)
    server = work.training.rounds.server
    assert isinstance(server, MappingServer)
    download = server.download(torch.tensor([1]), torch.arange(len(model.common_items)))
    sent = {name: tensors_of(download, name)[0].float() for name in sorted(server.trained)}
    epoch, once = work.traffic()
    assert epoch.down == len(work.training.users) * len(encode(sent))
    assert epoch.up > epoch.down
    frozen = model.common_items, model.item_offsets, model.item_features, *model.item_tower
    size = sum(tensor.nbytes for tensor in frozen) if loss == "task" else 0
    assert size <= once.down < size + 1000


def test_a_mapping_tells_its_bytes(finished_run: FinishedRun) -> None:
    """Those of every learning rate that was tried, and once the frozen model."""
    store, made = finished_run.store, dict(finished_run.outcome.artifacts)
    traffic = store.read_frame(made["mapping movie-music beta 0.3 seed 1"], "traffic.parquet")
    down = dict(zip(traffic["span"].to_list(), traffic["down"].to_list(), strict=True))
    rates, epochs = len(finished_run.settings.mapping.learning_rates), 2
    devices = down["epoch"] // down["device"]
    once, rest = divmod(down["run"] - rates * epochs * down["epoch"], devices)
    assert (once > 0, rest) == (True, 0)


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
        LayoutCodec("literal", torch.Generator()): (
            n * k + k * k_p + constants + both,
            n * k + k * k_p + both,
        ),
        LayoutCodec("product", torch.Generator()): (n * k_p + constants + both, n * k_p + both),
    }
    for codec, (down, up) in expected.items():
        loop = MessageLoop(RATINGS, torch.float64, codec)
        download = stage.training.rounds.server.download(device, loop.rows(device))
        loop.gather(download, device, loop.rows(device))
        (traffic,) = loop.traffic
        assert 8 * down - 8 < traffic.down < 8 * down + 2000
        assert 8 * up < traffic.up < 8 * up + 2000
    loop = MessageLoop(RATINGS, torch.float64, LayoutCodec("rows", torch.Generator()))
    download = stage.training.rounds.server.download(device, loop.rows(device))
    loop.gather(download, device, loop.rows(device))
    (traffic,) = loop.traffic
    assert traffic.down < count * (k_p + 8 + 8 * 4) + tower + 8 * (k + 3 + 24 + 24 + k) + 3000
    assert traffic.up < count * (k_p + 8 + 4) + 8 * (tower + k + 3 + 1) + 2000


@pytest.mark.parametrize("layout", ["literal", "product", "rows"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"base": "mf", "centred": False},
        {"user_size": 5, "common_size": 3, "private_size": 7},
    ],
)
def test_costs_are_those_of_rounds_that_were_run(
    layout: OpenLayout, options: dict[str, object]
) -> None:
    stage = pretraining(torch.float32, **options)
    device = torch.tensor([8])
    loop = MessageLoop(RATINGS, torch.float32, LayoutCodec(layout, torch.Generator()))
    rows = loop.rows(device)
    loop.gather(stage.training.rounds.server.download(device, rows), device, rows)
    count = int((RATINGS.users == 8).sum())
    asked = count if layout == "rows" else RATINGS.n_items
    assert loop.traffic == [exchanged(layout, asked, stage.config)]
    assert layout == "rows" or loop.traffic == [
        traffic(layout, DomainShape(RATINGS.n_items, count), stage.config)
    ]


def test_the_claims_about_bytes_hold_at_the_papers_sizes() -> None:
    """Music of Table 2: literal costs more than FCF, the product a third, rows under 1 %."""
    config, music = PretrainConfig(), DomainShape(64_443, 15)
    fcf, small, literal, product, secure, fcf_rows, small_rows, rows = (
        traffic(way, music, config).both for way in WAYS
    )
    assert secure > literal > fcf
    assert small < product < fcf / 3
    assert small_rows < fcf_rows < rows < 0.01 * fcf


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
        "not readable": digest(b"nonsense") + b"nonsense",
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


@given(st.integers(0), st.integers(1, 255))
def test_a_flipped_byte_is_refused_wherever_it_is(place: int, change: int) -> None:
    message = {"u": torch.ones(2, 3), "v": torch.zeros(4)}
    sent = bytearray(encode(message))
    sent[place % len(sent)] ^= change
    with pytest.raises(BadMessage, match="not the bytes that were sent"):
        decode(bytes(sent), contract_of(message))
