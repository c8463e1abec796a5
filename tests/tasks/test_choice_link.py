"""Choices over a link: sums under masks train what the simulation trains, features stay."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load
from torch import Tensor

from metaem_core.config.choice import ChoiceConfig, ChoiceMappingConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.choices import ChoicePair, Choices
from metaem_core.data.ratings import Ratings
from metaem_core.federated.choice.bytes import features_traffic, overlap_traffic
from metaem_core.federated.encoding import SUM, BadMessage
from metaem_core.federated.remote.exchange import Answer
from metaem_core.federated.remote.secure_rounds import PhaseMessage
from metaem_core.methods.metaem.choice_pretraining import ChoicePretraining
from metaem_core.methods.metaem.choice_transfer import ChoiceTransfer
from metaem_core.models.choice import ChoiceDomain, ItemFactors
from metaem_core.models.choice_mapping import OverlapSums
from tasks.flower.choice_job import choice_start, features_start, overlap_start
from tasks.flower.job import Job
from tasks.flower.node import Node
from tasks.flower.request import Configs, Request, vectors_tag
from tests.tasks.test_carried import MOVIE, MUSIC, OTHER, STOP, TRAIN, USERS, noted
from tests.tasks.test_remote import Devices, Spoil, about, honest

CONFIG = ChoiceConfig(size=4, epochs=3, leading=3, threshold=3, l2=0.1)
MAPPING = ChoiceMappingConfig(sizes=(2, 4))
KEPT = MUSIC.of_users(~torch.isin(torch.arange(USERS), torch.from_numpy(STOP)).numpy())


def request(kind: str, domain: str, tag: str = "", choice: ChoiceConfig = CONFIG) -> Request:
    config = Configs(PretrainConfig(), choice=choice).encoded()
    source = "movie" if kind == "overlap" else ""
    return Request(kind=kind, domain=domain, config=config, source=source, tag=tag)  # type: ignore[typeddict-item]


def fresh(ratings: Ratings = KEPT, config: ChoiceConfig = CONFIG) -> ChoicePretraining:
    return ChoicePretraining(config, Choices.of(ratings, config.threshold))


def simulated(ratings: Ratings = KEPT, config: ChoiceConfig = CONFIG) -> ChoicePretraining:
    work = fresh(ratings, config)
    list(work.training.epochs(lambda _: None))
    return work


@pytest.fixture(autouse=True)
def assigned(tmp_path: Path) -> Node:
    """All users of both domains, each with a device."""
    node = Node(tmp_path / "node")
    node.domain("movie").assign(MOVIE, range(USERS))
    node.domain("music").assign(MUSIC, range(USERS))
    node.link([{"movie": OTHER[user], "music": user} for user in range(USERS)])
    return node


def done(folder: Path, wanted: Request, start: dict[str, Tensor], spoil: Spoil = honest) -> Job:
    job = Job.create(folder / wanted["kind"], about(wanted, 0.8), start)
    job.work(Devices(folder, spoil, wanted), range(USERS))
    return job


def same(ours: ChoiceDomain, theirs: ChoiceDomain) -> None:
    """Up to the unit of what is added under masks."""
    assert theirs.items.vectors.abs().max() > 0.1
    for name in ("popularity", "moments"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=0, atol=1e-3)
    product, expected = (each.leading @ each.leading.T for each in (ours, theirs))
    torch.testing.assert_close(product, expected, rtol=0, atol=1e-2)
    torch.testing.assert_close(ours.items.vectors, theirs.items.vectors, rtol=0, atol=1e-3)


def test_masked_rounds_train_what_the_simulation_trains(tmp_path: Path) -> None:
    work, expected = fresh(), simulated()
    answers: list[Answer] = []
    job = done(tmp_path, request("choice", "music"), choice_start(work), noted(answers))
    job.load_into(work.training)
    same(work.model(), expected.model())
    users, passes = len(work.training.users), CONFIG.epochs + 2  # counts, and once more at the end
    assert (job.result["devices"], job.result["refused"]) == (users, [])
    assert job.result["epochs"] == [CONFIG.epochs]
    assert {each.device for each in answers} == {*work.training.users.tolist()}
    assert len(answers) == 5 * passes * users
    assert job.result["trained"].up == sum(len(each.message) for each in answers)
    for mine, other in zip(work.training.curve(), expected.training.curve(), strict=True):
        assert mine.loss == pytest.approx(other.loss, abs=1e-3)
        assert mine.n_ratings == other.n_ratings
    assert job.progress is not None
    assert job.progress["news"] == work.training.curve()[-1].news


def test_an_interrupted_job_goes_on_from_its_last_epoch(tmp_path: Path) -> None:
    work, wanted = fresh(), request("choice", "music")
    phases = 5 * 2  # of the counts and an epoch

    def die(answer: Answer) -> Iterable[Answer]:
        if answer.round == phases + 3:  # in the second epoch
            raise KeyboardInterrupt
        return [answer]

    with pytest.raises(KeyboardInterrupt):
        done(tmp_path, wanted, choice_start(work), die)
    late: list[Answer] = []
    job = done(tmp_path, wanted, choice_start(work), noted(late))
    assert min(answer.round for answer in late) == phases + 1
    job.load_into(work.training)
    same(work.model(), simulated().model())


def test_a_device_without_choices_is_silent(assigned: Node) -> None:
    none = Configs(PretrainConfig(), choice=replace(CONFIG, threshold=9)).encoded()
    wanted = request("choice", "music") | {"config": none}
    with pytest.raises(BadMessage, match="has no choices"):
        assigned.train(wanted, 5, PhaseMessage(0, 1, 0, 14, 256.0, ()).encoded())


def test_a_device_answers_no_phase_of_another_round(assigned: Node) -> None:
    wanted = request("choice", "music")
    first = PhaseMessage(0, 1, 0, 14, 256.0, ())
    assigned.train(wanted, 5, first.encoded())
    second = replace(first, phase=2, messages=(b"", b""))
    for other in (replace(second, size=3), replace(second, limit=1.0)):
        with pytest.raises(BadMessage, match="a phase of another round"):
            assigned.train(wanted, 5, other.encoded())
    with pytest.raises(FileNotFoundError):
        assigned.train(request("choice", "music", "0" * 32), 5, second.encoded())


def test_jobs_of_a_domain_run_at_the_same_time(tmp_path: Path) -> None:
    """Another job's round begins between any two phases of this one, on the same devices."""
    other, work = request("choice", "music", "0" * 32), fresh()

    def between(answer: Answer) -> Iterable[Answer]:
        Node(tmp_path / "node").train(
            other, answer.device, PhaseMessage(0, 1, 0, 14, 256.0, ()).encoded()
        )
        return [answer]

    job = done(tmp_path, request("choice", "music"), choice_start(work), between)
    job.load_into(work.training)
    same(work.model(), simulated().model())


class Overlap(NamedTuple):
    """A mapping between two pretrained domains as jobs, and its sums in one process."""

    between: ChoiceTransfer
    target: ItemFactors
    pair: ChoicePair
    tag: str
    features: dict[str, Tensor]  # what the first job begins with
    sums: dict[str, Tensor]  # and the second
    opened: OverlapSums

    @property
    def both(self) -> tuple[Tensor, Tensor]:
        return self.pair.in_both()

    def same(self, sums: OverlapSums) -> None:
        """Up to the unit of what is added under masks."""
        for masked, open_sum in zip(sums, self.opened, strict=True):
            assert open_sum.abs().max() > 1
            torch.testing.assert_close(masked, open_sum, rtol=0, atol=1e-3)


def overlap() -> Overlap:
    source, target = simulated(MOVIE).model(), simulated().model()
    sides = Choices.of(MOVIE, CONFIG.threshold), Choices.of(KEPT, CONFIG.threshold)
    train = torch.tensor([OTHER[user] for user in TRAIN.tolist()]), torch.from_numpy(TRAIN)
    pair, between = ChoicePair(*sides, *train), ChoiceTransfer.of(MAPPING, source, target)
    opened = between.sums(pair)
    features = features_start(between.features, sides[0].counts.nonzero().flatten())
    sums = overlap_start(target.items, between.turn, between.features, pair.in_both()[1])
    tag = vectors_tag(features["turn"], features["leading"])
    return Overlap(between, target.items, pair, tag, features, sums, opened)


def test_the_mappings_sums_are_the_open_ones_and_features_stay(
    tmp_path: Path, assigned: Node
) -> None:
    planted, answers = overlap(), list[Answer]()
    spoil, members = noted(answers), len(planted.features["members"])
    left = done(tmp_path, request("features", "movie", planted.tag), planted.features, spoil)
    assert left.result["devices"] == members
    mine, theirs = planted.both
    job = done(tmp_path, request("overlap", "music", planted.tag), planted.sums, spoil)
    assert (job.result["devices"], job.result["refused"]) == (len(theirs), [])
    planted.same(job.sums())
    each = features_traffic(planted.between.features)
    assert left.result["trained"] == tuple(members * way for way in each)
    counted = overlap_traffic(planted.target, planted.between.features, len(theirs))
    for seen, way in zip(job.result["trained"], counted, strict=True):
        assert 0 <= seen / len(theirs) - way < 10 * 500  # what envelops five phases of each sum
    chosen, between = planted.pair.source.of_users(mine), planted.between
    wire = b"".join(answer.message for answer in answers)
    files = b"".join(p.read_bytes() for p in left.folder.rglob("*") if p.is_file())
    files += b"".join(p.read_bytes() for p in job.folder.rglob("*") if p.is_file())
    for user, own in zip(mine.tolist(), between.features(chosen), strict=True):
        kept = assigned.domain("movie").profile(user, planted.tag)
        torch.testing.assert_close(kept[0], own)
        assert kept[0, 1:].numpy().tobytes() not in wire + files
    expected = between.model(planted.opened).scores(chosen)
    mapped = between.model(job.sums()).scores(chosen)
    torch.testing.assert_close(mapped, expected, rtol=0, atol=1e-2)
    assert all(load(each.message[SUM:]).keys() == {"kept"} for each in answers[:members])


def test_a_device_without_features_is_silent(assigned: Node) -> None:
    wanted = request("overlap", "music", "0" * 32)
    with pytest.raises(FileNotFoundError):
        assigned.train(wanted, 5, PhaseMessage(0, 1, 0, 14, 256.0, ()).encoded())
