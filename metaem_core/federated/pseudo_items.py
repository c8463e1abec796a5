"""FedRec (Lin et al. 2020): devices train on unrated items too."""

import numpy as np

from metaem_core.bias import damped_mean
from metaem_core.ratings import Ints, Ratings, RatingScale


def with_pseudo_items(ratings: Ratings, share: float, seed: int, scale: RatingScale) -> Ratings:
    """Every device's ratings and about ``share`` times as many items it did not rate.

    They are drawn once, by popularity: items that nobody else rates would give themselves away, and
    so would new ones in every round. Each is given a rating of the scale near the user's mean
    (FedRec's user averaging, rounded up or down at random: a fraction would give it away, as a
    server can read the values). The others stay known as unrated; of the items that a device
    touches, the rated ones are ``1 / (1 + share)``.
    """
    draw = np.random.default_rng(np.random.SeedSequence([seed, 2]))
    users = np.repeat(ratings.users, draw.poisson(share, len(ratings)))
    shown = ratings.items[draw.integers(0, len(ratings), len(users))]  # as often as it is rated
    drawn = users * ratings.n_items + shown
    rated = ratings.users * ratings.n_items + ratings.items
    added = np.setdiff1d(drawn, rated)
    mean = damped_mean(ratings.users, ratings.values, ratings.n_users, damping=0.0)
    places: Ints = np.concatenate([rated, added])
    exact = (mean[added // ratings.n_items] - scale.low) / scale.step
    made = scale.low + scale.step * np.floor(exact + draw.random(len(added)))
    values = np.concatenate([ratings.values, np.minimum(made, scale.high).astype(np.float32)])
    order = np.argsort(places)
    rows, columns = np.divmod(places[order], ratings.n_items)
    return Ratings(rows, columns, values[order], ratings.n_users, ratings.n_items)
