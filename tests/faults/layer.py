"""Every operation of the file layer: kill -9 there, or an error of the disk, and then once more."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from metaem_core.data.splitting import SplitConfig
from tasks.sources.files import Files
from tasks.stages.download import DownloadRequest, download
from tasks.stages.filter import FilterConfig, filter_ratings
from tasks.stages.split import split_users
from tasks.store.artifacts import ArtifactRef, Draft, Store
from tasks.store.checkpoints import Checkpoint
from tasks.store.stage import stage
from tests.faults.disk import HITS, KILLS, Disk
from tests.faults.processes import Ended, run
from tests.faults.stores import broken, contents, finished, held
from tests.faults.tally import Injection

DOMAINS = ("movie", "music")
ROWS = {fault: "F01" for fault in KILLS} | {"ENOSPC": "F05", "EACCES": "F06", "EIO": "F06"}


@dataclass(frozen=True)
class Tuned:
    epochs: int = 2


@stage("tuned")
def tuned(store: Store, config: Tuned, split: ArtifactRef) -> ArtifactRef:
    """A training that takes no time: checkpoints, then tensors."""
    checkpoint = Checkpoint(store.scratch / "training")
    saved = checkpoint.load()
    done, weights = (saved[0], saved[1]["w"]) if saved else (0, torch.zeros(64))
    for epoch in range(done + 1, config.epochs + 1):
        weights = weights + epoch
        checkpoint.save(epoch, {"w": weights})
    with store.draft() as draft:
        draft.write_tensors("w.safetensors", {"w": weights})
    shutil.rmtree(store.scratch, ignore_errors=True)
    return draft.ref


def prepare(folder: Path) -> None:
    """Two small domains of the same ten users."""
    folder.mkdir(parents=True)
    for number, domain in enumerate(DOMAINS):
        lines = [f"u{u},i{i},{(u * i + number) % 5 + 1}" for u in range(10) for i in range(5)]
        (folder / f"{domain}.csv").write_text("\n".join(["user_id,item_id,rating", *lines, ""]))


def pipeline(folder: Path) -> ArtifactRef:
    """Files in, tensors out."""
    store = Store(folder / "store")
    source = Files({domain: str(folder / f"{domain}.csv") for domain in DOMAINS})
    raw = [download.fn(store, DownloadRequest(domain, source)) for domain in DOMAINS]
    both = [filter_ratings.fn(store, FilterConfig(k=1), each) for each in raw]
    return tuned.fn(store, Tuned(), split_users.fn(store, SplitConfig(0.3), *both))


def computed_in(folder: Path) -> None:
    """The pipeline, with the keys of what it computed and the last address beside the store."""
    keys: list[str] = []
    publish = Draft.publish

    def noted(draft: Draft) -> None:
        keys.append(draft.store.provenance.key)
        publish(draft)

    Draft.publish = noted  # type: ignore[method-assign]
    last = pipeline(folder)
    (folder / "record.json").write_text(json.dumps({"keys": keys, "last": str(last)}))


@dataclass(frozen=True)
class Layer:
    """An undisturbed run to hold disturbed ones against."""

    folder: Path
    expected: set[str]
    last: str
    seconds: float
    reused: float  # seconds of a run that finds everything

    @classmethod
    def undisturbed(cls, folder: Path) -> "Layer":
        prepare(folder / "base")
        ended = [run(lambda: computed_in(folder / "base"), folder / "log") for _ in range(2)]
        assert [each.code for each in ended] == [0, 0], ended
        record = json.loads((folder / "base" / "record.json").read_text())
        assert record["keys"] == [], "a second run computed something"
        expected = contents(folder / "base" / "store")
        return cls(folder, expected, record["last"], ended[0].seconds, ended[1].seconds)

    def count(self, fault: str) -> int:
        """How many operations of a run the fault could hit."""
        place = self.folder / "count"
        prepare(place)
        disk = Disk(place / "store", fault)

        def work() -> None:
            disk.arm()
            pipeline(place)
            (place / "record.json").write_text(str(disk.count))

        assert run(work, self.folder / "log").code == 0
        count = int((place / "record.json").read_text())
        shutil.rmtree(place)
        return count

    def disturb(self, fault: str, number: int) -> Injection:
        """One fault at one operation, then the same once more undisturbed."""
        place = self.folder / "disturbed"
        prepare(place)
        disk = Disk(place / "store", fault, number)

        def work() -> None:
            disk.arm()
            pipeline(place)

        first = run(work, self.folder / "log")
        partial, done = broken(place / "store"), finished(place / "store")
        wrong = [f"locks {names} are held" for names in [held(place / "store")] if names]
        if fault in KILLS and first.code != -9:
            wrong.append(f"it ended with {first.code}")
        again = run(lambda: computed_in(place), self.folder / "log")
        twice = self._twice(place, again, done, wrong)
        shutil.rmtree(place)
        spent = first.seconds + again.seconds - self.seconds - self.reused
        return Injection(
            ROWS[fault],
            f"file layer, {fault} at operation {number}",
            "; ".join(wrong),
            recovery=again.seconds,
            lost=max(spent, 0.0),
            duplicates=twice,
            partial=len(partial),
        )

    def _twice(self, place: Path, again: Ended, done: set[str], wrong: list[str]) -> int:
        if again.code != 0:
            wrong.append(f"the next run ended with {again.code}: {again.output[-300:]}")
            return 0
        record = json.loads((place / "record.json").read_text())
        if record["last"] != self.last or contents(place / "store") != self.expected:
            wrong.append("other artifacts than undisturbed")
        wrong += [f"{name} is not whole" for name in broken(place / "store")]
        return len(done.intersection(record["keys"]))


def sweep(folder: Path, times: float) -> Iterator[Injection]:
    """Every fifth operation, times ``times``, from another one on for each fault."""
    layer, step = Layer.undisturbed(folder), max(1, round(5 / times))
    for offset, fault in enumerate(HITS):
        for number in range(1 + offset % step, layer.count(fault) + 1, step):
            yield layer.disturb(fault, number)
