"""The report's tables of users: how their catalogue is ranked, how equally they are served."""

import polars as pl

from metaem_core.evaluation.breakdown import GROUPS
from tasks.models.method_id import Named, parse
from tasks.report.html import Html, columns, join, per_beta, row, table, tag
from tasks.report.html_tables import ours
from tasks.report.panels import titled
from tasks.report.results import Results


def ranking(results: Results, task: str) -> Html:
    """How well the catalogue is ranked for cold users."""
    betas = results.betas(task)
    metrics = [
        name
        for name in results.summary["metric"].unique(maintain_order=True)
        if name.startswith(("ndcg_at", "hr_at", "mrr"))
    ]
    names = [name.replace("_at_", "@").upper() for name in metrics]
    shown = fair(results)
    body = []
    for each in shown:
        cells = []
        for beta in betas:
            for metric in metrics:
                values = [results.scores[task, beta, m.name, metric].mean for m in shown]
                mine = results.scores[task, beta, each.name, metric].mean
                best = f"{mine:.4f}" == f"{max(values):.4f}"
                cells.append(tag("td", f"{mine:.4f}", kind="best" if best else ""))
        body.append(row(each.label, *cells, kind=ours(each)))
    heads = [per_beta(betas, len(names)), columns("method", *(names * len(betas)))]
    return table(heads, body, f"{titled(task)}; higher is better")


def fairness(results: Results, task: str, beta: float) -> Html:
    """Mean error by user in each group of activity, the gap between them, the worst tenth."""
    cell = (pl.col("task") == task) & (pl.col("beta") == beta)
    served = results.groups.filter(cell & (pl.col("grouping") == "history"))
    whole = {each["method"]: each for each in results.fairness.filter(cell).iter_rows(named=True)}
    sizes = dict(served.select("group", "users").unique("group").iter_rows())
    present = [name for name in GROUPS if name in sizes]
    user_mae = dict(
        ((method, group), error)
        for method, group, error in served.select("method", "group", "user_mae").iter_rows()
    )
    body = []
    for each in fair(results):
        told = whole[each.name]
        cells = [f"{user_mae[each.name, name]:.4f}" for name in present]
        gap = None if told["worst_group"] is None else told["worst_group"] - told["best_group"]
        cells += ["" if gap is None else f"{gap:.4f}", f"{told['worst_tenth']:.4f}"]
        body.append(row(each.label, *(tag("td", c) for c in cells), kind=ours(each)))
    counted = "users, summed over seeds" if results.seeds > 1 else "users"
    groups = [join([name, tag("small", f" ({sizes[name]:,} {counted})")]) for name in present]
    heads = [columns("method", *groups, "worst less best", "worst tenth")]
    return table(
        heads, body, f"{titled(task)}, {beta:.0%} cold: mean over users of each user's MAE"
    )


def closeness(results: Results) -> Html:
    """How far transformed vectors are from the target's, in numbers."""
    names = ("users", "count", "own", "other users'", "ratio", "fold-in misses by", "ridge")
    body = []
    for each in results.closeness.iter_rows(named=True):
        method = parse(each["method"])
        ratio = each["own"] / each["others"] if each["others"] else 1.0
        missed = "" if each["fold_in"] is None else f"{each['fold_in']:.3f}"
        cells = (each["users"], f"{each['count']:,}", f"{each['own']:.3f}", f"{each['others']:.3f}")
        told = f"{titled(each['task'])}: {method.label}, {method.profile}"
        tail = (f"{ratio:.3f}", missed, f"{each['damping']:g}")
        kind = "ours" if method.is_metaem else ""
        body.append(row(told, *(tag("td", cell) for cell in (*cells, *tail)), kind=kind))
    caption = "Mean distance from target to transformed vectors; ratio 1: no better than anyone's"
    return table([columns("method", *names)], body, caption)


def fair(results: Results) -> list[Named]:
    """The trivial predictors, MetaEM and the calibrated methods on plain MF."""
    shown = [*results.of_profile(""), *results.of_profile("calibrated")]
    return [each for each in shown if each.base in ("", "mf")]
