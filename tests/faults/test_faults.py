"""Faults at operations of the file layer: a part of ``make faults``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.tally import Injection

pytestmark = pytest.mark.night

ROOT = Path(__file__).parents[2]


def test_a_fault_at_a_file_operation_costs_nothing_that_was_finished(tmp_path: Path) -> None:
    noted = tmp_path / "faults.json"
    command = [sys.executable, "-m", "tests.faults", "layer", "--times", "0.3", "--out", str(noted)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = [Injection(**each) for each in json.loads(noted.read_text())]
    assert [each for each in found if not each.passed] == []
    assert done.returncode == 0, done.stderr
    assert {each.row for each in found} == {"F01", "F05", "F06"}
    assert len(found) > 45
