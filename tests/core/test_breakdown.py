"""Errors by group, against sums by hand."""

import numpy as np
import pytest

from metaem_core.evaluation.metrics import GROUPS, group_errors, group_of


def test_every_count_has_its_group() -> None:
    counts = np.array([0, 1, 4, 5, 9, 10, 19, 20, 49, 50, 10_000])
    named = [GROUPS[place] for place in group_of(counts)]
    assert named == [
        *("0", "1-4", "1-4", "5-9", "5-9", "10-19", "10-19", "20-49", "20-49", "50+", "50+")
    ]


def test_sums_by_hand() -> None:
    """Groups 1 and 2; user 7 has errors 1 and 3 in group 1 and 2 in group 2, user 8 has 5 in 1."""
    groups, users = np.array([1, 1, 2, 1]), np.array([7, 7, 7, 8])
    actual = np.array([1.0, 1.0, 1.0, 0.0])
    errors = group_errors(groups, users, np.array([2.0, -2.0, 3.0, 5.0]), actual)
    assert errors["users"].tolist() == [0, 2, 1, 0, 0, 0]
    assert errors["ratings"].tolist() == [0, 3, 1, 0, 0, 0]
    assert errors["absolute"].tolist() == pytest.approx([0, 9, 2, 0, 0, 0])
    assert errors["squared"].tolist() == pytest.approx([0, 35, 4, 0, 0, 0])
    assert errors["user_mae"].tolist() == pytest.approx([0, 2 + 5, 2, 0, 0, 0])
