"""F01, F05, F06: kill -9 and a failing disk, at single operations and at random times."""

import atexit
import json
import resource
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.faults.command import STAGES, Product, computed
from tests.faults.disk import HITS, KILLS, Disk
from tests.faults.processes import Ended
from tests.faults.suite import Suite, refusal
from tests.faults.tally import Injection


def killed_stages(suite: Suite) -> Iterator[Injection]:
    """F01: kill -9 at file operations of every stage of the command."""
    yield from at_operations(suite, "F01", KILLS, 2)


def full_disk(suite: Suite) -> Iterator[Injection]:
    """F05: no room from an operation on, and files that may not grow."""
    yield from at_operations(suite, "F05", ("ENOSPC",), 1)
    for _ in suite.some(4):
        limit = int(10 ** suite.draw.uniform(2, 5.5))
        first = suite.product.run(suite.product.empty(), before=lambda n=limit: no_longer(n))
        fault = f"files end at {limit} bytes"
        yield suite.product.mend(
            "F05", fault, suite.product.folder / "disturbed", first, refusal(first), whole=True
        )


def refusing_disk(suite: Suite) -> Iterator[Injection]:
    """F06: a store that may not be written to any more, and one that cannot be read once."""
    yield from at_operations(suite, "F06", ("EACCES", "EIO"), 1)


def at_operations(
    suite: Suite, row: str, faults: tuple[str, ...], usual: int
) -> Iterator[Injection]:
    product = suite.product
    for stage in STAGES:
        seen, done = operations(product, product.without(stage))
        assert {label.split()[0] for label in done} == {stage}, done
        for fault in faults:
            total = could_hit(fault, seen)
            for _ in suite.some(usual) if total else ():
                number, store = suite.draw.randint(1, total), product.without(stage)
                first, wrong = struck(product, store, fault, number)
                wrong = wrong if fault in KILLS else refusal(first)
                yield product.mend(
                    row, f"{stage}, {fault} at operation {number} of {total}", store, first, wrong
                )


def struck(product: Product, store: Path, fault: str, number: int) -> tuple[Ended, str]:
    """A run that meets the fault, and what is wrong if it should have died of it."""
    first = product.run(store, before=Disk(store, fault, number).arm)
    if fault in KILLS and first.code != -signal.SIGKILL:
        return first, first.failure or "it ended as if nothing were wrong"
    return first, ""


def could_hit(fault: str, seen: Mapping[str, int]) -> int:
    """How many of these operations, by kind."""
    return sum(seen.get(kind, 0) for kind in HITS[fault][0])


def operations(product: Product, store: Path) -> tuple[dict[str, int], list[str]]:
    """How many of each kind a run does with this store, and what it computes."""
    note, disk = product.folder / "seen.json", Disk(store)

    def arm() -> None:
        atexit.register(lambda: note.write_text(json.dumps(disk.seen)))
        disk.arm()

    ended = product.run(store, before=arm)
    assert ended.code == 0, ended.output
    counts: dict[str, int] = json.loads(note.read_text())
    return counts, computed(ended.output)


def no_longer(limit: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def killed_runs(suite: Suite) -> Iterator[Injection]:
    """F01: kill -9 at random times of a run that has everything to compute."""
    product = suite.product
    for _ in suite.some(6):
        seconds = suite.draw.uniform(0, product.seconds)
        store = product.empty()
        child = product.start(store)
        time.sleep(seconds)
        child.kill()
        first = child.wait()
        fault = f"the whole run, killed after {seconds:.1f} s"
        yield product.mend("F01", fault, store, first, whole=True)
