"""The provenance of a report, read from its artifacts' manifests; it contains no user's data."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from tasks.models.evaluated_cell import artifacts_by_cell
from tasks.models.method_id import METHOD, read_method
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.lookup import ancestors

STAGES = (
    "filter",
    "twins",
    "split",
    "pretrain",
    "mapping",
    "dp_biases",
    "dp_transfer",
    "choice_pretrain",
    "choice_mapping",
    "factorise",
    "baseline",
    "evaluate",
    "rank",
)
# settings of the whole run, or shown elsewhere
OMITTED = {"seed", "code", "method", "base", "factors", "cold_fraction", "task"}


@dataclass(frozen=True)
class Used:
    """Settings that some stages ran with."""

    stage: str
    profile: str  # "" if it makes no difference
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Cell:
    """One cell and the addresses of what was evaluated and ranked."""

    task: str
    beta: float
    seed: int
    split: ArtifactRef
    evaluation: ArtifactRef | None
    ranking: ArtifactRef | None


@dataclass(frozen=True)
class Origin:
    """The provenance of all cells of a report."""

    data: Mapping[str, str]  # where the ratings came from, by domain
    generated: bool
    cells: Sequence[Cell]
    domains: Mapping[str, ArtifactRef]  # the filtered ratings
    used: Sequence[Used]
    versions: Mapping[str, str]


def origin(
    store: Store, evaluations: Sequence[ArtifactRef], rankings: Sequence[ArtifactRef]
) -> Origin:
    """The origin of all cells, with the settings and versions of the first one."""
    cells, domains, data, generated = [], {}, {}, False
    found = artifacts_by_cell(store, [*evaluations, *rankings])
    for (task, beta, seed), refs in found.items():
        inputs = store.manifest(refs[0]).provenance.inputs
        (split,), stages = inputs["split"], {ref.stage: ref for ref in refs}
        cells.append(Cell(task, beta, seed, split, stages.get("evaluate"), stages.get("rank")))
        for domain, side in zip(task.split("-"), ("source", "target"), strict=True):
            (domains[domain],) = inputs[side]
            config = store.manifest(_raw(store, domains[domain])).provenance.config
            data[domain], generated = _place(config), generated or "code" in config
    first = next(iter(found.values()))
    versions = store.manifest(first[0]).versions
    return Origin(data, generated, cells, domains, _used(store, first), versions)


def origin_digest(
    store: Store, evaluations: Sequence[ArtifactRef], rankings: Sequence[ArtifactRef]
) -> str:
    """sha256 of :func:`origin`."""
    plain = asdict(origin(store, evaluations, rankings))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _raw(store: Store, domain: ArtifactRef) -> ArtifactRef:
    """The raw file of filtered ratings, of which twins may have been left out."""
    inputs = store.manifest(domain).provenance.inputs
    if domain.stage == "twins":
        return _raw(store, *inputs["source"])
    (raw,) = inputs["raw"]
    return raw


def _place(download: Mapping[str, object]) -> str:
    """The source of a raw file, without any local path."""
    name = str(download["name"])
    if "code" in download:
        return f"{name}, generated: a planted world"
    urls = download.get("urls")
    if isinstance(urls, list | tuple) and urls:
        return f"{name} from {urlsplit(str(urls[0])).hostname}"
    return f"{name}, a local file (sha256 {str(download.get('content', ''))[:12]})"


def _used(store: Store, cell: Sequence[ArtifactRef]) -> list[Used]:
    refs = [*cell, *ancestors(store, *cell).values()]
    used = [
        Used(stage, _profile(store, ref), dict(_flat("", store.manifest(ref).provenance.config)))
        for stage in STAGES
        for ref in refs
        if ref.stage == stage
    ]
    return [each for place, each in enumerate(used) if each not in used[:place]]


def _profile(store: Store, ref: ArtifactRef) -> str:
    origin = store.manifest(ref).provenance
    if METHOD in store.manifest(ref).files:
        return read_method(store, ref).profile
    if "centred" in origin.config:
        return "calibrated" if origin.config["centred"] else "paper"
    return ""


def _flat(prefix: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name not in OMITTED:
                path = f"{prefix}.{name}" if prefix and prefix != "config" else str(name)
                yield from _flat(path, inner)
    else:
        yield prefix, ", ".join(map(str, value)) if isinstance(value, list) else str(value)
