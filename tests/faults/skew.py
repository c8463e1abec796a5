"""F26: runs whose clock is an hour off, beside a Prefect server whose clock is right."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.clock import can_be_wrong, wrong_clock
from tests.faults.command import computed
from tests.faults.sharing import agreed
from tests.faults.suite import Suite
from tests.faults.tally import Injection

HOUR = 3600


def wrong_clocks(suite: Suite) -> Iterator[Injection]:
    """F26: alone, at the same time as a right one, and after one; nothing of it needs a clock."""
    product = suite.product
    for ahead, way in ((HOUR, "an hour ahead"), (-HOUR, "an hour behind")) * can_be_wrong():
        store = product.empty()
        clock = wrong_clock(product.folder, ahead)
        ended = product.interpreter(store, **clock).wait()
        yield product.mend("F26", way, store, ended, ended.failure, whole=True)
        store = product.empty()
        both = product.start(store, name="right"), product.interpreter(store, **clock)
        ends = [child.wait() for child in both]
        yield agreed(product, store, f"{way}, beside a right one", ends, "F26")
        store = product.copy()
        date(store, ahead)
        ended = product.run(store)
        again = f"computed again: {done}" if (done := computed(ended.output)) else ""
        yield product.mend("F26", f"after one {way}", store, ended, again)


def date(store: Path, ahead: int) -> None:
    """Let all files be as old as if they were written under that clock."""
    then = time.time() + ahead
    for path in store.rglob("*"):
        os.utime(path, (then, then))
