"""Tables of results on a terminal."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from tasks.models.method_id import LISTED_BY
from tasks.store.artifacts import ArtifactRef, CorruptArtifact, Store
from tasks.store.manifests import MANIFEST

if TYPE_CHECKING:
    from metaem_core.config.pretrain import PretrainConfig
    from metaem_core.privacy.attacks.audit import Audit
    from metaem_core.synthetic.size import DomainSize


def score_tables(summary: pl.DataFrame, list_summary: pl.DataFrame) -> Iterator[Table]:
    """A table per cold fraction: errors and lists, mean and standard deviation over seeds."""
    columns = ["task", "beta", "method", "metric", "seeds", "mean", "sd"]
    stars = summary.filter(pl.col("metric").is_in(["mae", "rmse"])).select(columns)
    both = pl.concat([stars, _listed(list_summary).select(columns)])
    for (task, beta), scores in both.group_by("task", "beta", maintain_order=True):
        seeds = scores["seeds"].item(0)
        table = Table(title=f"{task}, beta {beta:g}, {seeds} seed(s)", title_justify="left")
        metrics = scores["metric"].unique(maintain_order=True).to_list()
        table.add_column("method", no_wrap=True)
        for metric in metrics:
            table.add_column(metric, justify="right")
        for (method,), rows in scores.group_by("method", maintain_order=True):
            values = {row["metric"]: row for row in rows.iter_rows(named=True)}
            table.add_row(str(method), *(_score(values.get(name)) for name in metrics))
        yield table


def _listed(summary: pl.DataFrame) -> pl.DataFrame:
    """NDCG and hit rate of lists; a method with a model of choice is there by that one."""
    by_choice = {choice: stars for stars, choice in LISTED_BY.items()}
    by_stars = [stars for choice, stars in by_choice.items() if choice in summary["method"]]
    return summary.filter(
        (pl.col("relevant") == "chosen")
        & pl.col("metric").str.contains("^(ndcg|hr)_at_")
        & ~pl.col("method").is_in(by_stars)
    ).with_columns(pl.col("method").replace(by_choice))


def statistics_table(task: str, frame: pl.DataFrame) -> Table:
    """Table 2's row of a task."""
    return plain_table(
        task,
        ["domain", "users", "items", "ratings", "overlap users", "density", "mean rating"],
        (
            (
                domain,
                f"{u:,}",
                f"{i:,}",
                f"{r:,}",
                f"{overlap:,}",
                f"{density:.3%}",
                "" if mean is None else f"{mean:.3f}",
            )
            for domain, u, i, r, overlap, density, mean, _ in frame.iter_rows()
        ),
    )


def twins_table(task: str, pairs: pl.DataFrame, first: int = 5) -> Table:
    """The pairs of twins with the most raters."""
    rows = pairs.sort("raters", "source_item", "target_item", descending=[True, False, False])
    return plain_table(
        f"{pairs.height:,} pair(s) of twins, at most {first} shown",
        [*task.split("-"), "raters of both", "of either"],
        ((a, b, f"{raters:,}", f"{share:.0%}") for a, b, raters, share in rows.head(first).rows()),
    )


def recommendation_tables(task: str, recommendations: pl.DataFrame) -> Iterator[Table]:
    """A table per user, with the columns that say something."""
    titles = {"rank": "", "item_id": task.partition("-")[2], "score": "score"}
    titles |= {"prediction": "predicted", "because": "because of"}
    shown = [name for name in titles if recommendations[name].is_not_null().any()]
    for (user,), own in recommendations.group_by("user_id", maintain_order=True):
        rows = (tuple(map(_shown, row)) for row in own.select(shown).iter_rows())
        yield plain_table(f"for {user}", [titles[name] for name in shown], rows)


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def artifact_table(store: Store, refs: Iterable[ArtifactRef]) -> Table:
    """Address, size, rows and times."""
    rows = [_artifact_row(store, ref) for ref in refs]
    rows.sort(key=lambda row: row[-1], reverse=True)
    return plain_table("", ["artifact", "size", "rows", "took", "last used"], rows)


def _artifact_row(store: Store, ref: ArtifactRef) -> tuple[str, ...]:
    name = f"{ref.stage}/{ref.digest[:12]}"
    try:
        manifest = store.manifest(ref)
    except CorruptArtifact:
        return name, "damaged", "", "", ""
    used = datetime.fromtimestamp((store.folder(ref) / MANIFEST).stat().st_mtime)
    return (
        name,
        f"{ref.size / 1e6:.2f} MB",
        f"{sum(manifest.rows.values()):,}",
        f"{manifest.seconds:.1f} s",
        used.isoformat(" ", "seconds"),
    )


def traffic_table(domain: str, size: "DomainSize", config: "PretrainConfig") -> Table:
    """A row per layout and FCF table: a device's bytes, their ratio to FCF's, all devices'."""
    from metaem_core.federated.bytes import WAYS, DomainShape, traffic  # torch costs seconds

    mean = round(size.ratings / size.users)
    title = f"{domain}: {size.items:,} items, {size.users:,} devices with {mean} ratings each"
    columns = ["way", "down", "up", "of fcf-32", "all devices once"]
    costs = {way: traffic(way, DomainShape(size.items, mean), config) for way in WAYS}
    base = costs["fcf-32"].both
    rows = (
        (
            way,
            *map(decimal, (cost.down, cost.up)),
            f"{cost.both / base:.2%}",
            decimal(cost.both * size.users),
        )
        for way, cost in costs.items()
    )
    return plain_table(title, columns, rows)


def audit_table(domain: str, devices: int, audits: "Sequence[Audit]") -> Table:
    """A row per layout: how much of each upload the attack reconstructs."""
    title = f"{domain}: one upload of each of {devices} devices, as its server reads it"
    table = Table(title=title, title_justify="left")
    table.add_column("the server sees", no_wrap=True)
    for column in ("item sets", "ratings", "AUC"):
        table.add_column(column, justify="right")
    table.add_column("the server learns")
    for audit in audits:
        leak = audit.leak
        shares = f"{leak.item_sets:.1%}", f"{leak.ratings:.1%}", f"{leak.auc:.3f}"
        table.add_row(audit.evidence, *shares, audit.in_words(audits[-1].leak))
    return table


def choice_audit_table(task: str, devices: int, audits: "Sequence[Audit]") -> Table:
    """A row per kind of evidence: how many items that users chose the server names."""
    title = f"{task}: choices of {devices} devices"
    rows = (
        (a.evidence, f"{a.leak.item_sets:.1%}", f"{a.leak.ratings:.1%}", f"{a.leak.auc:.3f}")
        for a in audits
    )
    return plain_table(title, ["the server sees", "item sets", "choices", "AUC"], rows)


def plain_table(title: str, columns: list[str], rows: Iterable[tuple[str, ...]]) -> Table:
    """Numbers on the right, their names in the first column."""
    table = Table(title=escape(title) or None, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _score(row: dict[str, float | None] | None) -> str:
    if row is None:
        return ""
    spread = "" if row["sd"] is None else f" ± {row['sd']:.4f}"
    return f"{row['mean']:.4f}{spread}"
