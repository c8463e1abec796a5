"""Stages: Prefect tasks whose results are artifacts, reused while nothing they depend on changed.

A stage is a function ``(store, config, *inputs) -> ArtifactRef``. Its cache key covers its name,
its config, its inputs' digests, the source it is made of and the versions of the libraries that
calculate; never a path, a time or the store.
"""

import functools
import hashlib
import inspect
import json
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from typing import ParamSpec, Protocol, runtime_checkable

from prefect import Task
from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.serializers import Serializer
from prefect.transactions import get_transaction
from pydantic import Field, TypeAdapter

from tasks.progress import finished, labelled
from tasks.store.artifacts import ArtifactRef, CorruptArtifact, Store
from tasks.store.atomic import exclusive
from tasks.store.manifests import Provenance, calculating_versions
from tasks.store.records import LOCKS, RECORDS, SERIALIZER, read_record, write_record
from tasks.store.source_digest import code_digest, freeze, load

P = ParamSpec("P")
Stage = Task[P, ArtifactRef]


@runtime_checkable
class Identified(Protocol):
    """A config that names the parts of it that a result depends on."""

    def identity(self) -> dict[str, object]:
        """Plain data that decides whether an earlier result counts."""
        ...


class ChangedMeanwhile(RuntimeError):
    """An input of a stage, such as a user's own file, was edited after its key was computed."""


_ADDRESS = TypeAdapter(ArtifactRef)
# runs that waited at the lock for a result of another run, until they are announced as reused
_taken_over: set[str] = set()


class ArtifactSerializer(Serializer):
    """Result records hold an artifact's address as JSON; unlike Prefect's, it imports nothing."""

    type: str = Field(default=SERIALIZER, frozen=True)

    def dumps(self, obj: ArtifactRef) -> bytes:
        """The address as JSON; any other result is our bug."""
        assert isinstance(obj, ArtifactRef), f"a stage returned {obj!r}"
        return json.dumps(asdict(obj)).encode()

    def loads(self, blob: bytes) -> ArtifactRef:
        """The address; its artifact was verified when the key was computed."""
        return _ADDRESS.validate_json(blob)


@dataclass
class StagePolicy(CachePolicy):
    """Computes a stage's key, and deletes a record whose artifact is damaged."""

    stage: str = ""
    module: str = ""
    libraries: tuple[str, ...] = ()

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, object],
        flow_parameters: dict[str, object],
        **kwargs: object,
    ) -> str:
        """The key; Prefect looks for a record of that name next."""
        origin = self.origin(inputs)
        store = inputs["store"]
        assert isinstance(store, Store), f"a stage's store is {store!r}"
        use_or_forget(store, origin)
        return origin.key

    def origin(self, inputs: Mapping[str, object]) -> Provenance:
        """What the stage computes from these inputs, and the key of it."""
        return provenance(self.stage, self.module, inputs, self.libraries)


def stage(name: str, *libraries: str) -> Callable[[Callable[P, ArtifactRef]], Stage[P]]:
    """Make a function ``(store, config, *inputs) -> ArtifactRef`` a cached Prefect task.

    Args:
        libraries: that it calculates with besides those of every stage.
    """

    def decorate(function: Callable[P, ArtifactRef]) -> Stage[P]:
        signature = inspect.signature(function)
        policy = StagePolicy(stage=name, module=function.__module__, libraries=libraries)
        freeze(function.__module__)

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> ArtifactRef:
            bound = signature.bind(*args, **kwargs)
            origin = policy.origin(bound.arguments)
            store: Store = bound.arguments["store"]
            transaction = get_transaction()  # Prefect's, if Prefect runs the stage
            _require_unchanged(origin, (transaction.key if transaction else None) or origin.key)
            load(function.__module__)
            for each in origin.refs():
                store.verify(each)
            with _locked(store, origin.key):  # two runs of one work would share its checkpoints
                ref = _reusable(store, origin.key)
                if ref is not None:
                    _taken_over.add(_run_name())
                else:
                    now = time.monotonic()
                    bound.arguments["store"] = replace(store, provenance=origin, started=now)
                    with labelled(_run_name() or name):
                        ref = function(*bound.args, **bound.kwargs)
                    _require_unchanged(origin, policy.origin(bound.arguments).key)
                write_record(store.root / RECORDS / origin.key, ref)
            if transaction is not None:
                # Prefect would write in place without the lock, when another run may be reading
                transaction.write_on_commit = False
            store.share(origin.key, ref)
            return ref

        # other processes import it by this name from its module
        run.__qualname__ = f"{function.__qualname__}.fn"
        return Task(run, name=name, cache_policy=policy, result_serializer=ArtifactSerializer())

    return decorate


def bind(
    unbound: Stage[P], store: Store, run_name: str = "", refresh: Collection[str] = ()
) -> Stage[P]:
    """The stage with its records in the store; recomputed if ``refresh`` names it."""
    return unbound.with_options(
        result_storage=store.root / RECORDS,
        refresh_cache=unbound.name in refresh,
        task_run_name=run_name or unbound.name,
        on_completion=[_announce],
    )


def provenance(
    name: str, module: str, arguments: Mapping[str, object], libraries: Collection[str] = ()
) -> Provenance:
    """What a call of a stage computes from, and the key of it."""
    config: dict[str, object] = {}
    inputs: dict[str, tuple[ArtifactRef, ...]] = {}
    for argument, value in arguments.items():
        if is_dataclass(value) and not isinstance(value, type | ArtifactRef | Store):
            config = value.identity() if isinstance(value, Identified) else asdict(value)
        elif argument != "store":
            inputs[argument] = _refs(argument, value)
    plain = json.loads(json.dumps(config, default=_plain))
    digests = {argument: [ref.digest for ref in refs] for argument, refs in inputs.items()}
    code = code_digest(module)
    versions = calculating_versions(libraries)
    identity = json.dumps([name, plain, digests, code, versions], sort_keys=True)
    key = f"{name}-{hashlib.sha256(identity.encode()).hexdigest()}"
    return Provenance(name, key, code, plain, inputs)


def use_or_forget(store: Store, origin: Provenance) -> None:
    """Note that the key's artifact was used; delete its record unless the artifact verifies.

    Prefect recomputes a stage without a record, and that stage alone.
    """
    record = store.root / RECORDS / origin.key
    ref = _verified(store, read_record(record))
    if ref is None and record.exists():
        with _locked(store, origin.key):  # another run may have repaired it meanwhile
            ref = _verified(store, read_record(record))
            if ref is None:
                record.unlink()
    if ref is not None:
        store.use(ref, origin)
        store.share(origin.key, ref)


def _locked(store: Store, key: str) -> AbstractContextManager[None]:
    """Let one run at a time work under the key."""
    return exclusive(store.root / LOCKS / key)


def _verified(store: Store, ref: ArtifactRef | None) -> ArtifactRef | None:
    """The address, if there is one and its artifact is whole."""
    try:
        if ref is not None:
            store.verify(ref)
    except CorruptArtifact:
        return None
    return ref


def _reusable(store: Store, key: str) -> ArtifactRef | None:
    """The result of another run under the key, here or on another machine; None on a refresh."""
    context = TaskRunContext.get()
    if context is not None and context.task.refresh_cache:
        return None
    here = _verified(store, read_record(store.root / RECORDS / key))
    if here is None and store.shared is not None:
        return _verified(store, store.shared.record(key))
    return here


def _refs(argument: str, value: object) -> tuple[ArtifactRef, ...]:
    if value is None:
        return ()
    refs = tuple(value) if isinstance(value, list | tuple) else (value,)
    for ref in refs:
        assert isinstance(ref, ArtifactRef), f"stage input {argument!r} is {ref!r}"
    return refs


def _plain(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a stage's config holds {value!r}, which has no stable text")


def _announce(task: Task[..., object], run: TaskRun, state: State[object]) -> None:
    finished(run.name, reused=state.name == "Cached" or run.name in _taken_over)
    _taken_over.discard(run.name)


def _require_unchanged(origin: Provenance, key: str) -> None:
    if key != origin.key:
        raise ChangedMeanwhile(
            f"what the stage {origin.stage!r} reads was changed while it ran: repeat the command"
        )


def _run_name() -> str:
    context = TaskRunContext.get()
    return context.task_run.name if context is not None else ""
