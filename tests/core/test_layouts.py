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


def codec(layout: OpenLayout) -> LayoutCodec:
    return LayoutCodec(layout, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("layout", ["literal", "product"])
@pytest.mark.parametrize("base", ["dnn", "mf"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_exact_layouts_give_the_gradient_of_the_simulation(
    layout: OpenLayout, base: str, dtype: torch.dtype
) -> None:
    stage = pretraining(dtype, base=base)
    by_bytes = round_gradients(stage, MessageLoop(RATINGS, dtype, codec(layout)))
    at_once = round_gradients(stage, CohortSimulation(RATINGS, dtype))
    assert worst_error(by_bytes, at_once) < {torch.float64: 1e-12, torch.float32: 2e-6}[dtype]


def test_rounded_rows_give_nearly_the_gradient() -> None:
    stage = pretraining(torch.float64)
    exact = round_gradients(stage, CohortSimulation(RATINGS, torch.float64))
    rounded = round_gradients(stage, MessageLoop(RATINGS, torch.float64, codec("rows")))
    assert 1e-4 < worst_error(rounded, exact) < 0.1


def test_the_simulation_rounds_as_the_messages_do() -> None:
    """Both ways the mean gradient is the same, and its spread; one tower of one layer."""
    stage = pretraining(torch.float64, base="mf")
    exact = round_gradients(stage, CohortSimulation(RATINGS, torch.float64))
    loop = MessageLoop(RATINGS, torch.float64, codec("rows"))
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


def down(run: FinishedRun, label: str) -> dict[str, int]:
    """Bytes to devices by span, as an artifact of the run tells them."""
    traffic = run.store.read_frame(dict(run.outcome.artifacts)[label], "traffic.parquet")
    return dict(zip(traffic["span"].to_list(), traffic["down"].to_list(), strict=True))


def test_a_run_tells_its_bytes(finished_run: FinishedRun) -> None:
    """Of a mapping those of every learning rate that was tried, and once the frozen model."""
    sent = down(finished_run, "pretrain movie seed 1")
    ref = dict(finished_run.outcome.artifacts)["pretrain movie seed 1"]
    assert sent["run"] == len(finished_run.store.read_frame(ref, "curve.parquet")) * sent["epoch"]
    assert 0 < sent["device"] < sent["round"] <= sent["epoch"]
    scores = described(finished_run.store, finished_run.outcome.evaluations[0])
    points = {point.metric: point.value for point in scores.points}
    assert points["source_model/bytes_down_run"] == sent["run"]
    sent = down(finished_run, "mapping movie-music beta 0.3 seed 1")
    rates, epochs = len(finished_run.settings.mapping.learning_rates), 2
    devices = sent["epoch"] // sent["device"]
    once, rest = divmod(sent["run"] - rates * epochs * sent["epoch"], devices)
    assert (once > 0, rest) == (True, 0)
    sent = down(finished_run, "choice_mapping movie-music beta 0.3 seed 1")
    assert 0 < sent["device"] < sent["round"] == sent["epoch"] < sent["run"]  # with the features


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


def test_a_layout_carries_the_bytes_of_what_it_says() -> None:
    """64-bit numbers, in rows bytes and a unit a row; all else is under two kilobytes."""
    stage, device = pretraining(torch.float64), torch.tensor([5])
    n, k, k_p = RATINGS.n_items, stage.config.common_size, stage.config.private_size
    count, constants = int((RATINGS.users == 5).sum()), n * 4
    tower = sum(p.numel() for p in stage._model.item_tower)
    both = 1 + stage.config.user_size + 3 + tower  # squared error, user and MLP_item
    units = 8 * (k + 3 + 24 + 24 + k)
    expected: dict[OpenLayout, tuple[int, int]] = {
        "literal": (8 * (n * k + k * k_p + constants + both), 8 * (n * k + k * k_p + both)),
        "product": (8 * (n * k_p + constants + both), 8 * (n * k_p + both)),
        "rows": (
            count * (k_p + 8 + 8 * 4) + tower + units,
            count * (k_p + 8 + 4) + 8 * (tower + k + 3 + 1),
        ),
    }
    for layout, (down, up) in expected.items():
        loop = MessageLoop(RATINGS, torch.float64, codec(layout))
        download = stage.training.rounds.server.download(device, loop.rows(device))
        loop.gather(download, device, loop.rows(device))
        (cost,) = loop.traffic
        assert 0 <= cost.down - down + 8 < 2000, layout
        assert 0 <= cost.up - up < 2000, layout


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
    """Of an epoch, and of each device in it."""
    stage = pretraining(torch.float32, payload=layout, **options)
    loop, everyone = MessageLoop(RATINGS, torch.float32, codec(layout)), stage.training.users
    held = loop.devices = stage.training.rounds.backend.devices  # without the holdout
    everything = loop.rows(everyone)
    loop.gather(stage.training.rounds.server.download(everyone, everything), everyone, everything)
    for device, cost in zip(everyone.tolist(), loop.traffic, strict=True):
        count = len(held.of_device(device)[0])
        rows = count if layout == "rows" else RATINGS.n_items
        assert cost == exchanged(layout, rows, stage.config)
        if layout != "rows":
            assert cost == traffic(layout, DomainShape(RATINGS.n_items, count), stage.config)
    assert stage.traffic() == tuple(map(sum, zip(*loop.traffic, strict=True)))


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
