"""Every operation of the file layer: kill -9 there, or an error of the disk, and then once more."""

import sys
from collections.abc import Iterator
from pathlib import Path

from metaem_core.data.splitting import SplitConfig
from tasks.sources.files import Files
from tasks.stages.download import DownloadRequest, download
from tasks.stages.filter import FilterConfig, filter_ratings
from tasks.stages.split import split_users
from tasks.store.artifacts import Draft, Store
from tests.faults.command import Product
from tests.faults.disk import HITS, KILLS
from tests.faults.killing import could_hit, operations, struck
from tests.faults.stores import finished
from tests.faults.suite import Suite
from tests.faults.tally import Injection
from tests.faults.tuned import Tuned, tuned

DOMAINS = ("movie", "music")
ROWS = {fault: "F01" for fault in KILLS} | {"ENOSPC": "F05", "EACCES": "F06", "EIO": "F06"}


class Pipeline(Product):
    """Two small domains of the same ten users: files in, tensors out."""

    def prepare(self) -> None:
        for number, domain in enumerate(DOMAINS):
            lines = [f"u{u},i{i},{(u * i + number) % 5 + 1}" for u in range(10) for i in range(5)]
            text = "\n".join(["user_id,item_id,rating", *lines, ""])
            (self.folder / f"{domain}.csv").write_text(text)
        super().prepare()

    def work(self, store: Path, *more: str) -> None:
        """Says the key of what it is about to publish."""
        publish = Draft.publish

        def noted(draft: Draft) -> None:
            sys.stdout.write(f"computed {draft.store.provenance.key}\n")
            publish(draft)

        Draft.publish = noted  # type: ignore[method-assign]
        opened = Store(store)
        source = Files({domain: str(self.folder / f"{domain}.csv") for domain in DOMAINS})
        raw = [download.fn(opened, DownloadRequest(domain, source)) for domain in DOMAINS]
        both = [filter_ratings.fn(opened, FilterConfig(k=1), each) for each in raw]
        tuned.fn(opened, Tuned(), split_users.fn(opened, SplitConfig(0.3), *both))


def layers(suite: Suite) -> Iterator[Injection]:
    """F01, F05, F06: single operations of the file layer."""
    yield from sweep(suite.product.folder / "layer", suite.times)


def sweep(folder: Path, times: float) -> Iterator[Injection]:
    """Every fifth operation, times ``times``, from another one on for each fault."""
    product, step = Pipeline(folder), max(1, round(5 / times))
    product.prepare()
    seen, _ = operations(product, product.empty())
    for offset, fault in enumerate(HITS):
        for number in range(1 + offset % step, could_hit(fault, seen) + 1, step):
            store = product.empty()
            first, wrong = struck(product, store, fault, number)
            label, done = f"file layer, {fault} at operation {number}", finished(store)
            yield product.mend(ROWS[fault], label, store, first, wrong, whole=True, done=done)
