"""Mapping over a link: devices carry their vectors, and the target's server never has one."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load
from torch import Tensor

from metaem_core.bias import fitted_biases
from metaem_core.federated.collection import RoundVoid
from metaem_core.federated.remote import Answer
from metaem_core.federated.wire import encode
from metaem_core.methods.mapping_config import MappingConfig
from metaem_core.methods.metaem_mapping import Mapping
from metaem_core.methods.metaem_pretraining import Pretraining
from metaem_core.methods.pretrain_config import PretrainConfig
from metaem_core.methods.transfer_start import directions_of, source_view, target_view
from metaem_core.models.domain import DomainModel
from metaem_core.pair import DomainPair, Queries
from metaem_core.ratings import Ratings
from tasks.devices import Asked, Node
from tasks.federation import Job, mapping_start, vectors_tag, views_start
from tests.test_remote import Devices, Spoil, about
from tests.worlds import random_ratings

USERS = 40
MOVIE = random_ratings(USERS, 50, 9, seed=5)
MUSIC = random_ratings(USERS, 60, 9, seed=3)  # its user number k is the movies' number 39 - k
OTHER = {user: USERS - 1 - user for user in range(USERS)}
STOP = np.array([4, 10, 16])  # music's validation users
TRAIN = np.array([5, 7, 8, 11, 13, 14, 17, 20, 23, 25, 26, 28, 29, 31])
PRETRAIN = PretrainConfig(hidden_size=16, epochs=1, cohort_size=16)
CONFIG = MappingConfig(hidden_size=16, cohort_size=5, epochs=3, learning_rates=(1e-3, 1e-2))


@dataclass(frozen=True)
class World:
    """Two pretrained domains, and what the mapping stage has of them."""

    vectors: Tensor
    target: DomainModel
    pair: DomainPair
    tried: list[Mapping]

    def start(self) -> dict[str, Tensor]:
        counts = np.bincount(MUSIC.users, minlength=USERS)
        return mapping_start(self.tried[0], *map(torch.from_numpy, (counts, TRAIN, STOP)))


def trained(ratings: Ratings, config: PretrainConfig) -> Pretraining:
    stage = Pretraining(config, ratings)
    for _ in stage.training.epochs(lambda stats: None):
        pass
    return stage


def world(config: MappingConfig = CONFIG, pretrain: PretrainConfig = PRETRAIN) -> World:
    kept = MUSIC.of_users(~np.isin(np.arange(USERS), STOP))
    source, target = trained(MOVIE, pretrain).model(), trained(kept, pretrain).model()
    with torch.no_grad():
        vectors = source.profiles(torch.arange(USERS))
    pair = DomainPair(MOVIE, kept, np.array([OTHER[u] for u in TRAIN.tolist()]), TRAIN)
    asked = MUSIC.of_users(np.isin(np.arange(USERS), STOP))
    queries = Queries(USERS - 1 - asked.users, asked.items, asked.values)
    rates = config.learning_rates
    tried = [Mapping(config, rate, vectors, target, pair, queries) for rate in rates]
    return World(vectors, target, pair, tried)


def asked_of(
    tag: str, config: MappingConfig = CONFIG, pretrain: PretrainConfig = PRETRAIN
) -> Asked:
    plain = json.dumps({"pretrain": asdict(pretrain), "mapping": asdict(config)})
    return Asked(kind="mapping", domain="music", config=plain, source="movie", tag=tag)


def asked_to_keep(tag: str, pretrain: PretrainConfig = PRETRAIN) -> Asked:
    config = json.dumps(asdict(pretrain))
    return Asked(kind="carry", domain="movie", config=config, source="", tag=tag)


def carried(folder: Path, found: World, pretrain: PretrainConfig = PRETRAIN) -> None:
    """Deal out both domains, and let the source leave its vectors on the devices."""
    node = Node(folder / "node")
    node.domain("movie").deal(MOVIE, range(USERS))
    node.domain("music").deal(MUSIC, range(USERS))
    node.link([{"movie": OTHER[user], "music": user} for user in range(USERS)])
    asked = asked_to_keep(vectors_tag(found.vectors), pretrain)
    job = Job.create(folder / "carry", about(asked, 1.0), {"profiles": found.vectors})
    devices = node.domain("movie").devices()
    job.work(Devices(folder, asked=asked), devices)
    assert job.done is not None
    assert (job.done["devices"], job.done["refused"]) == (len(devices), [])


def mapped(folder: Path, found: World, asked: Asked, spoil: Spoil = lambda answer: [answer]) -> Job:
    job = Job.create(folder / "job", about(asked, 0.8), found.start())
    job.work(Devices(folder, spoil, asked), range(USERS))
    return job


@pytest.mark.parametrize(
    ("pretrain", "tolerance"),
    [
        (PRETRAIN, 1e-6),
        # Adam makes steps of the noise in gradients that are nearly zero
        (
            replace(PRETRAIN, centred=False, relu_last=True, meta_reads_raw=True, tables="lazy"),
            1e-5,
        ),
    ],
)
def test_devices_that_carry_their_vectors_train_what_the_simulation_trains(
    tmp_path: Path, pretrain: PretrainConfig, tolerance: float
) -> None:
    simulated, remote = world(pretrain=pretrain), world(pretrain=pretrain)
    carried(tmp_path, remote, pretrain)
    job = mapped(tmp_path, remote, asked_of(vectors_tag(remote.vectors), pretrain=pretrain))
    assert job.done is not None
    assert (job.done["devices"], job.done["refused"]) == (len(TRAIN), [])
    job.load_into(*(each.training for each in remote.tried))
    for ours, theirs in zip(remote.tried, simulated.tried, strict=True):
        for _ in theirs.training.epochs(lambda stats: None):
            pass
        for name, tensor in theirs.training.state().items():
            found = ours.training.state()[name]
            assert torch.allclose(found, tensor, rtol=10 * tolerance, atol=tolerance), name
        fresh = world(pretrain=pretrain).tried[0].network
        assert any(
            not torch.allclose(a, b, atol=1e-4) for a, b in zip(ours.network, fresh, strict=True)
        )


def started(folder: Path, found: World, spoil: Spoil = lambda answer: [answer]) -> Job:
    """Theta's start, found over a link."""
    asked = asked_of(vectors_tag(found.vectors)) | {"kind": "start"}
    biases, raters = fitted_biases(found.pair.target), np.unique(MOVIE.users)
    views = (
        source_view(found.vectors, raters, directions_of(found.target)),
        target_view(found.target, biases, found.pair),
    )
    start = views_start(*views, torch.from_numpy(biases.user), torch.from_numpy(TRAIN))
    job = Job.create(folder / "start", about(asked, 0.8), start)
    job.work(Devices(folder, spoil, asked), range(USERS))
    return job


def test_devices_sums_give_the_start_of_the_simulation(tmp_path: Path) -> None:
    found = world()
    carried(tmp_path, found)
    seen: list[bytes] = []

    def listen(answer: Answer) -> Iterable[Answer]:
        seen.append(answer.message)
        return [answer]

    job = started(tmp_path, found, listen)
    assert job.done is not None
    assert (job.done["devices"], job.done["refused"]) == (len(TRAIN), [])
    assert len(seen) == 2 * len(TRAIN)
    weight = found.tried[0].start[2]
    assert bool((weight[:, :32] != 0).any())  # taste
    assert bool((weight[:, 32:] != 0).any())  # habits
    for ours, theirs in zip(job.found(), found.tried[0].start, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    for user in TRAIN.tolist():
        assert found.vectors[OTHER[user]][:4].numpy().tobytes() not in b"".join(seen)


def test_answers_that_products_cannot_be_do_not_reach_the_start(tmp_path: Path) -> None:
    found = world()
    carried(tmp_path, found)

    def lie(answer: Answer) -> Iterable[Answer]:
        told = load(answer.message)
        wild = encode({**told, "cross": told["cross"] * 1e12})
        broken = encode({**told, "square": told["square"] * math.nan})
        return [answer._replace(message=wild), answer._replace(message=broken), answer]

    honest = started(tmp_path, found)
    (tmp_path / "b").mkdir()
    carried(tmp_path / "b", found)
    lied = started(tmp_path / "b", found, lie)
    assert lied.done is not None
    assert len(lied.done["refused"]) == 4 * len(TRAIN)
    for ours, theirs in zip(lied.found(), honest.found(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_targets_server_is_given_nothing_of_a_source_user(tmp_path: Path) -> None:
    """Neither in the job's folder nor in any message: searched for, bit by bit."""
    found = world()
    carried(tmp_path, found)
    seen: list[bytes] = []

    def listen(answer: Answer) -> Iterable[Answer]:
        seen.append(answer.message)
        return [answer]

    job = mapped(tmp_path, found, asked_of(vectors_tag(found.vectors)), listen)
    wire = b"".join(seen)
    files = b"".join(p.read_bytes() for p in job.folder.rglob("*") if p.is_file())
    assert len(seen) == 2 * CONFIG.epochs * len(TRAIN)
    for user in TRAIN.tolist():
        own = found.vectors[OTHER[user]]
        for part in (own[:4], own[-4:]):
            needle = part.numpy().tobytes()
            assert needle not in wire
            assert needle not in files
    carried_files = [p.read_bytes() for p in (tmp_path / "node").rglob("profiles/*/*")]
    assert any(found.vectors[OTHER[5]][:4].numpy().tobytes() in data for data in carried_files)


def test_an_open_gradient_of_theta_tells_the_vector_it_was_made_with(tmp_path: Path) -> None:
    """As docs/privacy.md says: only sums under masks keep it from the target's server."""
    found = world()
    carried(tmp_path, found)
    told: dict[int, bytes] = {}

    def listen(answer: Answer) -> Iterable[Answer]:
        told[answer.device] = answer.message  # of the last round: theta has moved
        return [answer]

    mapped(tmp_path, found, asked_of(vectors_tag(found.vectors)), listen)
    centre, scale = found.tried[0].start[:2]
    for user in TRAIN.tolist():
        answer = load(told[user])
        weight, constant = answer["network.0"], answer["network.1"]
        unit = constant.abs().argmax()
        stolen = weight[unit] / constant[unit] / scale + centre
        torch.testing.assert_close(stolen, found.vectors[OTHER[user]], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("why", ["another training's vectors", "nobody else's device"])
def test_devices_without_the_right_vector_are_silent(tmp_path: Path, why: str) -> None:
    found = world()
    carried(tmp_path, found)
    if why == "another training's vectors":
        asked = asked_of(vectors_tag(found.vectors + 1))
    else:
        asked = asked_of(vectors_tag(found.vectors))
        Node(tmp_path / "node").link([])
    with pytest.raises(RoundVoid, match="0 of 3 devices told their errors"):
        mapped(tmp_path, found, asked)


def test_an_interrupted_mapping_goes_on_from_its_last_epoch(tmp_path: Path) -> None:
    whole, again = world(), world()
    (tmp_path / "a").mkdir()
    carried(tmp_path / "a", whole)
    carried(tmp_path, again)
    asked = asked_of(vectors_tag(again.vectors))
    mapped(tmp_path / "a", whole, asked).load_into(*(each.training for each in whole.tried))
    rounds = CONFIG.epochs * 3  # three cohorts an epoch

    def die(answer: Answer) -> Iterable[Answer]:
        if answer.round == rounds + 5:  # in the second epoch of the second learning rate
            raise KeyboardInterrupt
        return [answer]

    with pytest.raises(KeyboardInterrupt):
        mapped(tmp_path, again, asked, die)
    late: list[int] = []

    def note(answer: Answer) -> Iterable[Answer]:
        late.append(answer.round)
        return [answer]

    mapped(tmp_path, again, asked, note).load_into(*(each.training for each in again.tried))
    assert min(late) > rounds
    for ours, theirs in zip(again.tried, whole.tried, strict=True):
        for name, tensor in theirs.training.state().items():
            assert torch.equal(ours.training.state()[name], tensor), name


def test_a_learning_rate_that_diverges_is_left_out(tmp_path: Path) -> None:
    config = replace(CONFIG, learning_rates=(1e-3, 1e30))
    found = world(config)
    carried(tmp_path, found)
    job = mapped(tmp_path, found, asked_of(vectors_tag(found.vectors), config))
    assert job.done is not None
    assert job.done["epochs"] == [3, None]
    job.load_into(*(each.training for each in found.tried))
    assert found.tried[0].training.best_rmse < 10


def test_without_devices_of_a_role_it_is_said_which(tmp_path: Path) -> None:
    found = world()
    carried(tmp_path, found)
    asked = asked_of(vectors_tag(found.vectors))
    job = Job.create(tmp_path / "job", about(asked, 0.8), found.start())
    with pytest.raises(ValueError, match="validates the mapping: deal out more devices"):
        job.work(Devices(tmp_path, asked=asked), TRAIN.tolist())
