"""The real command, ``metaem run`` on a small world, disturbed and undisturbed.

A process is forked from one that has imported everything, and runs the command from its beginning.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.store.records import RECORDS
from tests.conftest import SMALL
from tests.faults.processes import Child, Ended, run
from tests.faults.stores import broken, contents, held
from tests.faults.tally import Injection

STAGES = ("download", "filter", "statistics", "split", "pretrain", "mapping", "evaluate")
STAGES += ("visualise", "report")
ROOT = Path(__file__).parent.parent.parent
FINISHED = re.compile(r"^(computed|reused) +(\S.*)$", re.MULTILINE)


def arguments(store: Path, *more: str) -> list[str]:
    """``metaem run`` of one cell, one stage after the other."""
    given = ["--store", str(store), "--betas", "0.5", "--set", "workers=1"]
    return ["run", *given, *(part for each in SMALL for part in ("--set", each)), *more]


def metaem(words: Sequence[str]) -> None:
    """The command, as if it had been typed."""
    from flows.cli.main import main

    sys.argv = ["metaem", *words]
    main()


def computed(output: str) -> list[str]:
    """The stage runs that a command says it computed."""
    return [label for how, label in FINISHED.findall(output) if how == "computed"]


@dataclass
class Product:
    """An undisturbed run of the command to hold disturbed ones against."""

    folder: Path
    seconds: float = 0.0  # of a run that computes everything
    reused: float = 0.0  # of a run that finds everything
    expected: frozenset[str] = frozenset()

    @property
    def base(self) -> Path:
        return self.folder / "base"

    def run(self, store: Path, *more: str, before: Callable[[], object] = lambda: None) -> Ended:
        """The command to its end; ``before`` is done in its process first."""

        def work() -> None:
            before()
            self.work(store, *more)

        return run(work, self.folder / "log")

    def work(self, store: Path, *more: str) -> None:
        """What a run does in its process."""
        metaem(arguments(store, *more))

    def start(self, store: Path, name: str = "a") -> Child:
        """The command, not waited for."""
        return Child.start(lambda: metaem(arguments(store)), self.folder / f"log-{name}")

    def interpreter(self, store: Path, folder: Path = ROOT, **environment: str) -> Child:
        """The command in an interpreter of its own, not waited for."""
        words = [sys.executable, "-m", "flows.cli.main", *arguments(store)]

        def work() -> None:
            os.chdir(folder)
            os.execve(words[0], words, os.environ | {"PYTHONPATH": str(ROOT)} | environment)

        return Child.start(work, self.folder / "log-interpreter")

    def prepare(self) -> None:
        """The undisturbed run, and one after it."""
        store = self.empty()
        first, second = (self.run(store) for _ in range(2))
        for each in (first, second):
            assert each.code == 0, each.output
        assert computed(second.output) == [], second.output
        store.rename(self.base)
        self.seconds, self.reused = first.seconds, second.seconds
        self.expected = frozenset(contents(self.base))

    def copy(self) -> Path:
        """The finished store, at the place where it was filled."""
        store = self.empty()
        shutil.copytree(self.base, store)
        return store

    def without(self, stage: str) -> Path:
        """A copy of the finished store that has yet to compute ``stage``."""
        store = self.copy()
        shutil.rmtree(store / stage)
        for path in (store / RECORDS).glob(f"{stage}-*"):
            path.unlink()
        return store

    def empty(self) -> Path:
        """No store yet."""
        store = self.folder / "disturbed"
        shutil.rmtree(store, ignore_errors=True)
        return store

    def empty_folder(self) -> Path:
        """A new place to work in."""
        folder = self.folder / "elsewhere"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def mend(
        self,
        row: str,
        fault: str,
        store: Path,
        first: Ended,
        wrong: str = "",
        *,
        whole: bool = False,
        done: Collection[str] | None = None,
    ) -> Injection:
        """The state of the store after ``first``, and after the command once more.

        Args:
            whole: whether ``first`` had everything to compute.
            done: what must not be computed again, if not what ``first`` says it computed.
        """
        faults = [wrong] if wrong else []
        faults += [f"locks held: {names}" for names in [held(store)] if names]
        partial, done = broken(store), computed(first.output) if done is None else done
        again = self.run(store)
        faults += [f"the next run: {again.failure}"] if again.failure else []
        if contents(store) != self.expected or broken(store):
            faults.append("other artifacts than undisturbed")
        twice = [label for label in computed(again.output) if label in done]
        usual = (self.seconds if whole else self.reused) + self.reused
        return Injection(
            row,
            fault,
            "; ".join(faults),
            recovery=again.seconds,
            lost=max(first.seconds + again.seconds - usual, 0.0),
            duplicates=len(twice),
            partial=len(partial),
        )
