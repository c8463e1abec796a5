"""FedRec (Lin et al. 2020): devices train on unrated items too."""

import numpy as np

from metaem_core.data.bias import fitted_biases
from metaem_core.data.ratings import Ints, Ratings, RatingScale


def with_pseudo_items(ratings: Ratings, share: float, seed: int, scale: RatingScale) -> Ratings:
    """Every device's ratings and about ``share`` times as many items it did not rate.

    They are drawn once a training, by popularity: items that nobody else rates would give
    themselves away, and so would new ones in every round (a real device would keep its own). Each
    is given the rating of the scale next to what mean and biases expect, so that it says nothing of
    taste (FedRec's hybrid filling, by a model that stands still: a rating that moves from round to
    round is a made-up one). The others stay known as unrated; of the items that a device touches,
    the rated ones are ``1 / (1 + share)``.
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
    made = np.clip(scale.low + scale.step * steps, scale.low, scale.high).astype(np.float32)
    places: Ints = np.concatenate([rated, added])
    order = np.argsort(places)
    rows, columns = np.divmod(places[order], ratings.n_items)
    values = np.concatenate([ratings.values, made])[order]
    return Ratings(rows, columns, values, ratings.n_users, ratings.n_items)
