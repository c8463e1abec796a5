"""Checkpoints: whole or absent."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.store.checkpoints import Checkpoint
from tests.support.damage import edit, truncate

TYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool]


@given(
    epoch=st.integers(0, 10**6),
    shapes=st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=3),
    dtype=st.sampled_from(TYPES),
)
def test_what_is_saved_is_loaded(
    tmp_path_factory: pytest.TempPathFactory,
    epoch: int,
    shapes: list[list[int]],
    dtype: torch.dtype,
) -> None:
    state = {f"t.{i}": torch.ones(shape).mul(i).to(dtype) for i, shape in enumerate(shapes)}
    checkpoint = Checkpoint(tmp_path_factory.mktemp("c"))
    checkpoint.save(epoch, state)
    loaded = checkpoint.load()
    assert loaded is not None
    assert loaded[0] == epoch
    assert loaded[1].keys() == state.keys()
    for name, tensor in state.items():
        assert loaded[1][name].dtype == dtype
        assert torch.equal(loaded[1][name], tensor)


def test_the_last_save_counts_and_views_are_saved_as_they_look(tmp_path: Path) -> None:
    table = torch.arange(6.0).reshape(2, 3)
    checkpoint = Checkpoint(tmp_path / "deep" / "folder")
    assert checkpoint.load() is None
    checkpoint.save(1, {"w": table})
    checkpoint.save(2, {"w": table.T})
    loaded = checkpoint.load()
    assert loaded is not None
    assert loaded[0] == 2
    assert torch.equal(loaded[1]["w"], table.T)


@pytest.mark.parametrize("damage", [truncate, edit])
def test_damage_is_reported_and_counts_as_absent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    checkpoint = Checkpoint(tmp_path)
    checkpoint.save(3, {"w": torch.ones(100)})
    damage(checkpoint.path)
    with caplog.at_level(logging.WARNING):
        assert checkpoint.load() is None
    assert str(checkpoint.path) in caplog.text


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x05pickle", b"\xff" * 64, b"\x02" + bytes(7) + b"{}"]
)
def test_files_of_another_kind_count_as_absent(tmp_path: Path, content: bytes) -> None:
    checkpoint = Checkpoint(tmp_path)
    checkpoint.path.write_bytes(content)
    assert checkpoint.load() is None
