"""The report made or used last, as today's code tells it."""

from tasks.stages.report import ReportRequest, report
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.lookup import select
from tasks.store.manifests import MANIFEST, Manifest
from tasks.store.source_digest import code_digest


def newest_report(store: Store) -> ArtifactRef:
    """The newest report; one that older code made is made again from the same inputs."""
    reports = select(store, "report/")
    if not reports:
        raise ValueError(f"no report in {str(store.root)!r}: `metaem run` makes one")
    newest = max(reports, key=lambda ref: (store.folder(ref) / MANIFEST).stat().st_mtime)
    store.verify(newest)
    manifest = store.manifest(newest)
    if manifest.provenance.code == code_digest(report.fn.__module__):
        return newest
    return _again(store, manifest)


def _again(store: Store, manifest: Manifest) -> ArtifactRef:
    inputs = {name: [*refs] for name, refs in manifest.provenance.inputs.items()}
    for ref in inputs["evaluations"]:
        if "groups.parquet" not in store.manifest(ref).files:
            raise ValueError(f"{ref} was evaluated by an older version: repeat `metaem run`")
    request = ReportRequest(**manifest.provenance.config)  # type: ignore[arg-type]  # our own
    parts = {name: inputs.get(name, []) for name in ("evaluations", "statistics", "pictures")}
    return report.fn(store, request, **parts)
