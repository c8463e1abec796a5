"""FedRec (Lin et al. 2020): devices train on unrated items too."""

import numpy as np

from metaem_core.data.bias import fitted_biases
from metaem_core.data.ratings import Ints, Ratings, RatingScale


def with_virtual_ratings(ratings: Ratings, share: float, seed: int, scale: RatingScale) -> Ratings:
    """Every device's ratings and about ``share`` times as many virtual ones, of unrated items.

    The items are drawn by popularity: an item that nobody else rates would be recognised. They are
    drawn once a training: so would be items that change from round to round. A virtual rating is
    the one on the scale next to mean and biases, so it holds no taste (FedRec's hybrid filling,
    with a model that stays as it is: a rating that changes would be recognised too). Of the items
    that a device touches, a share ``1 / (1 + share)`` is rated; all others are known to be unrated.
    """
    draw = np.random.default_rng(np.random.SeedSequence([seed, 2]))
    owners = np.repeat(ratings.users, draw.poisson(share, len(ratings)))
    shown = ratings.items[draw.integers(0, len(ratings), len(owners))]  # as often as it is rated
    rated = ratings.users * ratings.n_items + ratings.items
    added = np.setdiff1d(owners * ratings.n_items + shown, rated)
    owner, item = np.divmod(added, ratings.n_items)
    biases = fitted_biases(ratings)
    expected = biases.mean + biases.user[owner] + biases.item[item]
    steps = np.round((expected - scale.low) / scale.step)
    virtual = np.clip(scale.low + scale.step * steps, scale.low, scale.high).astype(np.float32)
    places: Ints = np.concatenate([rated, added])
    order = np.argsort(places)
    rows, columns = np.divmod(places[order], ratings.n_items)
    values = np.concatenate([ratings.values, virtual])[order]
    return Ratings(rows, columns, values, ratings.n_users, ratings.n_items)
