"""Settings that cannot work are refused before anything is started."""

from dataclasses import asdict
from pathlib import Path

import pytest

from flows.checks import check
from flows.settings import read_settings
from tasks.flower.assign import FEDERATION, PARTITION, Partition
from tasks.store.atomic import write_json

OF_CHOICE = ("choice_pretrain", "choice_mapping", "rank")


@pytest.fixture
def federated(tmp_path: Path) -> Path:
    """A store whose federation was given devices."""
    (tmp_path / FEDERATION).mkdir()
    write_json(tmp_path / FEDERATION / PARTITION, asdict(Partition("0" * 8, {}, nodes=3)))
    return tmp_path


def checked(store: Path, *dotted: str, backend: str = "flower", stages: tuple[str, ...]) -> None:
    check(read_settings({"store": store, "backend": backend, "config": None}, dotted), *stages)


REFUSED_ON_DEVICES = {
    "mapping.loss=distance": "mapping.loss task",
    "pretrain.payload=rows": "pretrain.payload literal or product",
    "pretrain.payload=secure": "pretrain.payload literal or product",
    "pretrain.clusters=2": "neither clusters",
    "pretrain.pseudo_items=1": "pseudo_items",
    "pretrain.item_tower=personal": "personal item_tower",
}


@pytest.mark.parametrize(("setting", "message"), REFUSED_ON_DEVICES.items())
def test_what_real_devices_do_not_do_is_refused_and_simulated(
    federated: Path, setting: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        checked(federated, setting, stages=("report",))
    checked(federated, setting, backend="simulation", stages=("report",))


@pytest.mark.parametrize(
    "setting",
    ["choice.payload=rows", "choice.threshold=4", "feedback=choices"],
)
def test_choices_train_on_real_devices(federated: Path, setting: str) -> None:
    checked(federated, setting, stages=OF_CHOICE)


def test_a_mapping_reads_no_more_directions_than_vectors_have(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sizes has 32, more than choice\.size=16"):
        checked(tmp_path, "choice.size=16", backend="simulation", stages=OF_CHOICE)
    fitting = "choice.size=16", "choice_mapping.sizes=4,16"
    checked(tmp_path, *fitting, backend="simulation", stages=OF_CHOICE)


def test_without_devices_there_is_no_federated_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no devices in .*: start a federation"):
        checked(tmp_path, stages=OF_CHOICE)


def test_a_store_within_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"no store can be at .*: "):
        checked(tmp_path / "file" / "store", backend="simulation", stages=OF_CHOICE)
