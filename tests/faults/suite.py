"""How much is done, where, and what all rows share."""

import random
from dataclasses import dataclass

from tests.faults.command import Product
from tests.faults.processes import Ended


@dataclass
class Suite:
    """Where faults are put, and how many."""

    product: Product
    times: float
    draw: random.Random

    def some(self, usual: int) -> range:
        """So many injections."""
        return range(max(1, round(usual * self.times)))


def refusal(ended: Ended) -> str:
    """What is wrong with how a command reported its failure; empty if it succeeded."""
    if ended.code == 0:
        return ""
    named = ("metaem: ", "missing: ", "│ Invalid value for ")  # the last by the option parser
    lines = [line for line in ended.output.splitlines() if line.startswith(named)]
    if ended.code not in (1, 2) or "Traceback" in ended.output or not lines:
        return ended.failure
    return ""
