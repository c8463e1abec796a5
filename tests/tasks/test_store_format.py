"""A store of an earlier version is read, one of a later version is left alone."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from tasks.store.artifacts import Store
from tasks.store.format import FILE

OLD = Path(__file__).parent / "old_store"  # as version 0.1.0 left it, before stores had a mark


def metaem(*command: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*command])
    return done.exit_code, done.output


def test_a_store_of_the_first_version_is_read(tmp_path: Path) -> None:
    root = shutil.copytree(OLD, tmp_path / "store")
    code, output = metaem("artifacts", "verify", "--store", str(root))
    assert (code, "1 artifacts, 0 damaged" in output) == (0, True)
    (ref,) = Store(root).refs()
    assert Store(root).manifest(ref).provenance.config == {"source": "movie", "target": "music"}
    assert Store(root).read_frame(ref, "statistics.parquet").height == 2
    assert (root / FILE).read_text() == "1\n"


@pytest.mark.parametrize(
    "command", [("run",), ("artifacts", "list"), ("artifacts", "gc"), ("report",), ("register",)]
)
@pytest.mark.parametrize("mark", ["2", "", "what?"])
def test_a_store_of_another_version_is_left_alone(
    command: tuple[str, ...], mark: str, tmp_path: Path, prefect_server: None
) -> None:
    root = shutil.copytree(OLD, tmp_path / "store")
    (root / FILE).write_text(mark)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    code, output = metaem(*command, "--store", str(root))
    assert code == 2
    assert f"has format '{mark}', this version reads 1" in output
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
