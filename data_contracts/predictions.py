"""Every method's prediction for every held-out rating."""

import dataframely as dy


class Predictions(dy.Schema):
    """One row a method and held-out rating; ``prediction`` is not clipped to the scale."""

    method = dy.String(primary_key=True, min_length=1)
    user_id = dy.String(primary_key=True, min_length=1)
    item_id = dy.String(primary_key=True, min_length=1)
    rating = dy.Float32()
    prediction = dy.Float32()
