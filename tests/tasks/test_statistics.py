import numpy as np
import pytest

from metaem_core.data.ratings import Ratings
from tasks.stages.statistics import figures


def test_counts_only_what_is_rated() -> None:
    """Two users and two items are rated; the third index of each is not."""
    users, items = np.array([0, 0, 1]), np.array([0, 2, 2])
    ratings = Ratings(users, items, np.array([5, 4, 5], dtype=np.float32), 3, 3)
    row = figures("movie", ratings, overlap=1)
    assert (row["users"], row["items"], row["ratings"]) == (2, 2, 3)
    assert row["density"] == 3 / 4
    assert row["mean_rating"] == pytest.approx(14 / 3)


def test_a_domain_without_ratings_is_refused() -> None:
    nothing = Ratings(np.arange(0), np.arange(0), np.zeros(0, np.float32), 3, 3)
    with pytest.raises(ValueError, match="without ratings"):
        figures("movie", nothing, overlap=0)
