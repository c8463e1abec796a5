"""Popularity: the same list for everyone."""

from torch import Tensor

from metaem_core.data.choices import ChoicePair, Scores


def popularity(pair: ChoicePair) -> Scores:
    """How many training users of the target chose an item."""
    counts = pair.target.popularity().float()

    def scores(users: Tensor) -> Tensor:
        return counts.expand(len(users), -1)

    return scores
