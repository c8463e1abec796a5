import numpy as np
import pytest

from metaem_core.data.ratings import Ratings
from metaem_core.data.statistics import domain_statistics, pair_statistics


def three_ratings() -> Ratings:
    """Two users and two items rated; the third index of each is not."""
    users, items = np.array([0, 0, 1]), np.array([0, 2, 2])
    return Ratings(users, items, np.array([5, 4, 5], dtype=np.float32), 3, 3)


def test_counts_only_what_is_rated() -> None:
    found = domain_statistics(three_ratings())
    assert (found.users, found.items, found.ratings) == (2, 2, 3)
    assert found.density == 3 / 4
    assert found.mean_rating == pytest.approx(14 / 3)


def test_the_overlap_cannot_exceed_a_domain() -> None:
    assert pair_statistics(three_ratings(), three_ratings(), 2).overlap == 2
    with pytest.raises(ValueError, match=r"overlap 3 does not lie between 0 and .* 2 users"):
        pair_statistics(three_ratings(), three_ratings(), 3)


def test_a_domain_without_ratings_is_refused() -> None:
    with pytest.raises(ValueError, match="without ratings"):
        domain_statistics(three_ratings().of_users(np.zeros(3, dtype=bool)))
