"""FedRec (Lin et al. 2020): devices train on unrated items too, and so hide which were rated."""

import numpy as np

from metaem_core.bias import damped_mean
from metaem_core.ratings import Ints, Ratings


def with_pseudo_items(ratings: Ratings, share: float, seed: int) -> Ratings:
    """Every device's ratings and about ``share`` times as many items it did not rate.

    An unrated item is given the user's mean rating (FedRec's user averaging). It hides which of
    the touched items are rated, not that the others are not; a rated item stays one of
    ``1 / (1 + share)`` of those that a device touches.
    """
    draw = np.random.default_rng(np.random.SeedSequence([seed, 2]))
    users = np.repeat(ratings.users, draw.poisson(share, len(ratings)))
    drawn = users * ratings.n_items + draw.integers(0, ratings.n_items, len(users))
    rated = ratings.users * ratings.n_items + ratings.items
    added = np.setdiff1d(drawn, rated)
    mean = damped_mean(ratings.users, ratings.values, ratings.n_users, damping=0.0)
    places: Ints = np.concatenate([rated, added])
    values = np.concatenate([ratings.values, mean[added // ratings.n_items].astype(np.float32)])
    order = np.argsort(places)
    rows, columns = np.divmod(places[order], ratings.n_items)
    return Ratings(rows, columns, values[order], ratings.n_users, ratings.n_items)
