"""A stage's run: its inputs, and its artifact or failure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from prefect.futures import PrefectFuture

from tasks.store.artifacts import ArtifactRef


@dataclass(frozen=True)
class Failure:
    """A run that failed by itself, and its error."""

    run: str
    error: Exception

    def __str__(self) -> str:
        """One line for a report, without paths: only the kind of errors that are not ours."""
        ours = isinstance(self.error, ValueError | RuntimeError)
        text = str(self.error).strip().partition("\n")[0] if ours else type(self.error).__name__
        return f"{self.run}: {getattr(self.error, 'strerror', None) or text}"


@dataclass(frozen=True, eq=False)
class Run:
    """A stage, started once its inputs are there."""

    name: str
    future: PrefectFuture[ArtifactRef]
    inputs: tuple["Run", ...]

    @cached_property
    def failure(self) -> Failure | None:
        """The first failure among the run's inputs and itself, once it ended."""
        for each in self.inputs:
            if each.failure is not None:
                return each.failure
        result = cast("ArtifactRef | Exception", self.future.result(raise_on_failure=False))
        return Failure(self.name, result) if isinstance(result, Exception) else None

    def result(self) -> ArtifactRef:
        """The artifact; raises the first failure."""
        if self.failure is not None:
            raise self.failure.error
        return self.future.result()


Input = Run | list[Run] | None  # what a stage is given in place of artifacts


def futures(given: Input) -> object:
    """What stands for the artifacts of an input until they are there."""
    if isinstance(given, list):
        return [run.future for run in given]
    return given.future if given is not None else None


def flat(inputs: Iterable[Input]) -> Iterator[Run]:
    """The runs of all inputs."""
    for given in inputs:
        if given is not None:
            yield from given if isinstance(given, list) else [given]


def finished(runs: Iterable[Run]) -> list[Run]:
    """Those that left an artifact, once all of them ended."""
    return [run for run in runs if run.failure is None]
