"""A stopped command leaves at once, and a failed one leaves no rating behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.waiting import ProcessTree, deadline, wait_until

pytestmark = pytest.mark.night

ROOT = Path(__file__).parents[2]


def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_API_URL": ""}


def metaem(tmp_path: Path, *arguments: str) -> list[str]:
    store = ["--store", str(tmp_path / "store")]
    return [sys.executable, "-m", "flows.cli.main", *arguments, *store]


ENDS = {
    signal.SIGINT: (130, "metaem: stopped; the same command goes on"),
    signal.SIGTERM: (143, "metaem: stopped; the same command goes on"),
    signal.SIGKILL: (-9, ""),
}


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_ends_a_run_at_once_and_prefects_server_with_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    small = ["--set", "synthetic.config.growth=0.2", "--set", "pretrain.epochs=100000"]
    words = metaem(tmp_path, "run", "--betas", "0.5", *small)
    began = time.monotonic()
    with ProcessTree(
        words, cwd=ROOT, env=environment(tmp_path), stderr=subprocess.PIPE, text=True
    ) as work:
        wait_until(lambda: training(tmp_path) or work.poll() is not None, "training")
        assert work.poll() is None, work.communicate()
        assert len(work.members()) > 1, "no server"
        signalled = time.monotonic()
        work.send_signal(number)
        _, output = work.communicate(timeout=deadline())
        assert time.monotonic() - signalled < signalled - began, "slower to end than to begin"
        code, last = ENDS[number]
        assert work.returncode == code
        assert last in output
        assert "Traceback" not in output
        wait_until(lambda: not work.members(), "the end of Prefect's server")


def training(tmp_path: Path) -> bool:
    return any((tmp_path / "store").glob("checkpoints/**/*.safetensors"))


def test_a_refused_file_is_quoted_on_the_terminal_and_nowhere_else(tmp_path: Path) -> None:
    secret = "AX77SECRETUSER"
    (tmp_path / "bad.csv").write_text(f"user_id,item_id,rating\n{secret},BX99SECRETITEM,9\n")
    files = [f"files.files.{domain}={tmp_path / 'bad.csv'}" for domain in ("movie", "music")]
    assignments = [part for file in files for part in ("--set", file)]
    done = subprocess.run(
        metaem(tmp_path, "run", "--source", "files", *assignments),
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"line 2: off_scale: '{secret}" in done.stderr
    assert "Traceback" not in done.stderr
    recorded = [path for path in (tmp_path / "prefect").rglob("*") if path.is_file()]
    assert any(path.name.startswith("prefect.db") for path in recorded)
    assert [path for path in recorded if secret.encode() in path.read_bytes()] == []
    assert [path for path in recorded if "storage" in path.parts] == []
