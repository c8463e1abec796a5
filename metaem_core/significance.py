"""Is one method's error smaller than another's, or was it luck?"""

import math

import numpy as np
from numpy.typing import NDArray


def paired_p_value(differences: NDArray[np.float64]) -> float:
    """Two-sided p of a paired t statistic on one difference a user, by the normal approximation.

    z = sum(d) / sqrt(n / (n - 1) * sum((d - mean(d))^2)); 1 where nothing differs.
    """
    n = len(differences)
    if n < 2:
        raise ValueError(f"a paired test needs at least 2 users, got {n}")
    spread = math.sqrt(n / (n - 1) * float(np.square(differences - differences.mean()).sum()))
    total = float(differences.sum())
    if spread == 0.0:
        return 1.0 if total == 0.0 else 0.0
    return math.erfc(abs(total) / spread / math.sqrt(2.0))
