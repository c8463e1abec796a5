"""The cold-start split: training, validation and cold users of the overlap."""

import dataframely as dy

from data_contracts.ratings import ascend

ROLES = ("train", "validation", "cold")


class Split(dy.Schema):
    """One row an overlap user."""

    user_id = dy.String(min_length=1, check=ascend)
    role = dy.String(check=lambda role: role.is_in(ROLES))
