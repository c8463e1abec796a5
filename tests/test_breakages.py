"""Every breakage in breakages.py still finds the line it breaks."""

import pytest

from tests.breakages import BREAKAGES, ROOT, Breakage


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda b: b.name)
def test_it_applies_to_one_place(breakage: Breakage) -> None:
    assert (ROOT / breakage.file).read_text().count(breakage.right) == 1
