"""Real SuperNodes over TLS train as the simulation does. Skipped where Flower is not installed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

from flows.federation.certificates import issue_node_key
from flows.federation.loopback import Loopback
from metaem_core.methods.metaem.pretraining import Pretraining
from tasks.flower.choice_job import choice_start
from tasks.flower.folder import DeviceFolder
from tasks.flower.job import Job
from tasks.flower.node import Node
from tasks.flower.request import Request
from tasks.flower.star_job import pretrain_start
from tasks.flower.submit import run_job
from tests.support.counting_proxy import CountingProxy, counting_proxy
from tests.support.waiting import deadline
from tests.tasks import test_carried as carried
from tests.tasks import test_choice_link as choices
from tests.tasks.test_carried import CONFIG as CARRIED
from tests.tasks.test_remote import (
    ALL,
    CONFIG,
    RATINGS,
    about,
    finish,
    request_of,
    same,
    simulated,
    trained,
)

FLOWER = Path(__file__).parents[2] / ".venv-flower" / "bin"
NODES = 3

pytestmark = [
    pytest.mark.night,
    pytest.mark.skipif(not (FLOWER / "flwr").exists(), reason="run `make flower` first"),
]


@contextmanager
def federation_in(folder: Path) -> Iterator[Loopback]:
    """With the ratings on the nodes' disks; nothing has been started."""
    for node in range(NODES):
        DeviceFolder(folder / f"node-{node}" / "music").assign(RATINGS, ALL[node::NODES])
    loopback = Loopback(folder, FLOWER)
    try:
        loopback.claim()
        yield loopback
    finally:
        loopback.stop()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Loopback, CountingProxy]]:
    with federation_in(tmp_path_factory.mktemp("federation")) as loopback:
        loopback.start_link(NODES, timeout=deadline())
        with counting_proxy(loopback.address) as proxy:
            loopback.start_nodes(proxy.address)
            yield loopback, proxy


def job(federation: Loopback, folder: Path, epochs: int, quorum: float = 0.8) -> Job:
    config = replace(CONFIG, epochs=epochs)
    spec = about(request_of(config), quorum, NODES, federation.connection.timeout)
    return Job.create(folder / "job", spec, pretrain_start(*Pretraining(config, RATINGS).start()))


def done(federation: Loopback, folder: Path, request: Request, start: dict[str, Tensor]) -> Job:
    spec = about(request, 0.8, NODES, federation.connection.timeout)
    work = Job.create(folder, spec, start)
    run_job(work, federation.connection)
    return work


def link_domains(federation: Loopback) -> None:
    """The movies, too, and which of their users are the music's."""
    for number in range(NODES):
        node, users = Node(federation.folder / f"node-{number}"), ALL[number::NODES]
        node.domain("movie").assign(carried.MOVIE, [carried.OTHER[user] for user in users])
        node.link([{"movie": carried.OTHER[user], "music": user} for user in users])


def test_three_rounds_on_three_nodes_are_the_simulation(
    watched: tuple[Loopback, CountingProxy], tmp_path: Path
) -> None:
    """And the bytes of messages are on the wire, beside Flower's own."""
    federation, wire = watched
    before = wire.down, wire.up
    work = job(federation, tmp_path, epochs=1)  # three cohorts
    run_job(work, federation.connection)
    config = replace(CONFIG, epochs=1)
    assert (work.result["devices"], work.result["refused"]) == (
        len(simulated(config).training.users),
        [],
    )
    same(trained(work, config), simulated(config), 1e-6)
    ways = zip(work.result["trained"], work.result["evaluated"], strict=True)
    messages = [trained + evaluated for trained, evaluated in ways]
    passed = wire.down - before[0], wire.up - before[1]
    envelopes = 6 * NODES  # a question who is there, three rounds, two validations
    for counted, seen in zip(messages, passed, strict=True):
        assert counted < seen < counted + 30_000 * envelopes


def test_devices_keep_their_vectors_for_the_mapping(
    watched: tuple[Loopback, CountingProxy], tmp_path: Path
) -> None:
    """Left by the source's server, kept on the node's disk, used under masks in the target."""
    federation, _ = watched
    config = replace(CARRIED, epochs=1, learning_rates=(1e-3,))
    simulated, remote = (carried.world(config) for _ in range(2))
    link_domains(federation)
    done(federation, tmp_path / "transfer", remote.request_to_keep(), {"profiles": remote.vectors})
    work = done(federation, tmp_path / "job", remote.request(config=config), remote.start())
    assert (work.result["devices"], work.result["refused"]) == (len(carried.TRAIN), [])
    (ours,), (theirs,) = remote.tried, simulated.tried
    work.load_into(ours.training)
    finish(theirs.training)
    (mine,), (other,) = ours.training.curve(), theirs.training.curve()
    assert mine.n_ratings == other.n_ratings
    assert mine.loss == pytest.approx(other.loss, rel=1e-5)  # of the round before its step
    assert mine.validation_rmse == pytest.approx(other.validation_rmse, rel=1e-2)
    assert not list(tmp_path.rglob("profiles"))


def test_choices_are_trained_under_masks_as_simulated(
    watched: tuple[Loopback, CountingProxy], tmp_path: Path
) -> None:
    """Everyone counts, and after the epoch answers once more."""
    config = replace(choices.CONFIG, epochs=1)
    work, expected = choices.fresh(config=config), choices.simulated(config=config)
    request = choices.request("choice", "music", choice=config)
    job = done(watched[0], tmp_path / "job", request, choice_start(work))
    users = len(work.training.users)
    assert (job.result["devices"], job.result["refused"]) == (users, [])
    job.load_into(work.training)
    choices.same(work.model(), expected.model())


def test_features_stay_on_nodes_and_the_overlap_adds_up(
    watched: tuple[Loopback, CountingProxy], tmp_path: Path
) -> None:
    """Each node reads, in the music's sums, what the movies' server never saw."""
    federation, planted = watched[0], choices.overlap()
    link_domains(federation)
    request = choices.request("features", "movie", planted.tag)
    left = done(federation, tmp_path / "features", request, planted.features)
    assert left.result["devices"] == len(planted.features["members"])
    request = choices.request("overlap", "music", planted.tag)
    job = done(federation, tmp_path / "overlap", request, planted.sums)
    assert (job.result["devices"], job.result["refused"]) == (len(planted.both[1]), [])
    planted.same(job.sums())


def test_an_unregistered_key_is_refused(watched: tuple[Loopback, CountingProxy]) -> None:
    federation, _ = watched
    stranger = federation.folder / "stranger.key"
    issue_node_key(stranger)
    federation.start_node(9, stranger, federation.address)
    process = federation.processes.pop("supernode-9")
    assert process.wait(deadline()) != 0
    assert "Failed to activate SuperNode" in (federation.folder / "supernode-9.log").read_text()


def test_a_node_killed_in_a_round_is_done_without(tmp_path: Path) -> None:
    """kill -9 once training has begun: the devices that are left are enough."""
    with federation_in(tmp_path) as federation:
        federation.start(NODES, timeout=deadline(90))
        work = job(federation, tmp_path, quorum=0.2, epochs=2)
        with ThreadPoolExecutor() as pool:
            running = pool.submit(run_job, work, federation.connection)
            federation.wait_until(lambda: work.checkpoint().path.exists(), "superlink")
            lost = federation.processes.pop("supernode-1")
            lost.kill()
            lost.wait()
            running.result(timeout=deadline(1200))
    ours = trained(work)
    assert int(ours.training.epoch) == 2
    assert all(tensor.isfinite().all() for tensor in ours.training.state().values())
    start, after = Pretraining(CONFIG, RATINGS)._model, dict(ours.training.state())["users.table"]
    moved = (after != start.user_embeddings).any(1)
    users = ours.training.users
    assert moved[users[users % NODES != 1]].all()
