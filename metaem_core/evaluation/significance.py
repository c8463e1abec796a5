"""Is one method's error smaller than another's, or was it luck?"""

import math

import numpy as np
from numpy.typing import NDArray


def paired_p_value(differences: NDArray[np.float64]) -> float:
    """Two-sided p of a paired t test on one difference a user; 1 where nothing differs.

    t = sum(d) / sqrt(n / (n - 1) * sum((d - mean(d))^2)), with n - 1 degrees of freedom.
    """
    n = len(differences)
    if n < 2:
        raise ValueError(f"a paired test needs at least 2 users, got {n}")
    spread = math.sqrt(n / (n - 1) * float(np.square(differences - differences.mean()).sum()))
    total = float(differences.sum())
    if spread == 0.0:
        return 1.0 if total == 0.0 else 0.0
    return t_tails(abs(total) / spread, n - 1)


def t_tails(t: float, freedom: int) -> float:
    """P(|T| > t) of Student's t (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    odd = freedom % 2
    # factors of the series: cos^2 * 1/2 * 3/4 ... where even, cos^2 * 2/3 * 4/5 ... where odd
    k = np.arange(1 + odd, freedom - 1, 2)
    terms = np.cumprod(math.cos(angle) ** 2 * k / (k + 1))
    series = math.sin(angle) * float(1 + terms.sum())
    if odd:
        inside = 2 / math.pi * (angle + (math.cos(angle) * series if freedom > 1 else 0.0))
    else:
        inside = series
    return min(max(1.0 - inside, 0.0), 1.0)
