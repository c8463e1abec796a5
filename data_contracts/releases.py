"""The noisy sums that a training under DP released."""

import dataframely as dy


class NoisyReleases(dy.Schema):
    """One row a noisy sum."""

    release = dy.String(primary_key=True, min_length=1)
    clip = dy.Float64(min_exclusive=0)  # most that one user's part may measure
    deviation = dy.Float64(min=0)  # of the noise on every number; 0: none
