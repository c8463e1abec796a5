"""The report's tables as plain data, which the templates turn into HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from metaem_core.evaluation.metrics import GROUPS
from tasks.models.method_id import MethodId, Profile
from tasks.report.findings import REFERENCES, tally
from tasks.report.panels import titled
from tasks.report.paper_tables import DOUBTED, TABLE_2, TABLE_3, TASKS
from tasks.report.results import Results, Score, errors_of, titled_metric


@dataclass(frozen=True)
class Cell:
    """A number or a text, what stands small below it, and the paper's value."""

    text: str
    kind: str = ""  # its class in the style sheet
    notes: Sequence[str] = ()
    paper: str = ""


@dataclass(frozen=True)
class Row:
    """Cells named by their first column; without cells a heading of the rows below."""

    name: str
    cells: Sequence[Cell] = ()
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table; with ``betas``, its columns after the first are as many for each of them."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    betas: Sequence[float] = ()


def beats(results: Results, profile: Profile, methods: Sequence[MethodId]) -> Table:
    """In how many cells each method's RMSE is below each reference's."""
    names = [f"vs {results.ids[name].label}" for name in REFERENCES]
    rows = []
    for each in methods:
        tallies = [_tally(results, each.name, name) for name in REFERENCES]
        rows.append(_of_method(each, [Cell(f"{results.mean(each.name):.4f}"), *tallies]))
    caption = (
        f"Profile {profile}: in how many of {len(results.cells)} cells the RMSE is lower; below, "
        "in how many it is significantly lower or higher"
    )
    return Table(caption, ["method", "mean RMSE", *names], rows)


def _of_method(method: MethodId, cells: Sequence[Cell]) -> Row:
    return Row(method.label, cells, "ours" if method.is_metaem else "")


def _tally(results: Results, method: str, reference: str) -> Cell:
    if method == reference:
        return Cell("")
    count = tally(results, method, reference)
    significant = f"{count.significantly_better} lower · {count.significantly_worse} higher"
    kind = "sure" if count.significantly_better > count.significantly_worse else ""
    kind = "worse" if count.significantly_worse > count.significantly_better else kind
    return Cell(f"{count.better} of {count.cells}", kind, [significant])


def errors(results: Results, task: str, profile: Profile, methods: Sequence[MethodId]) -> Table:
    """Table 3 of a task: the trivial predictors and some methods of a profile."""
    betas, shown = results.betas(task), [*results.trivial, *methods]
    best = {
        (beta, metric): min(results.scores[task, beta, each.name, metric].mean for each in shown)
        for beta in betas
        for metric in errors_of(profile)
    }

    def row(method: MethodId) -> Row:
        cells = []
        for beta in betas:
            for metric in errors_of(profile):
                cells.append(_error(results, (task, beta, method.name, metric), best[beta, metric]))
            cells.append(Cell(_p_value(results.scores[task, beta, method.name, "rmse"])))
        return _of_method(method, cells)

    rows = [Row("Trivial predictors"), *map(row, results.trivial)]
    if methods:
        rows += [Row(f"Methods, profile {profile}"), *map(row, methods)]
    number = f", {TASKS[task]} of the paper" if task in TASKS else ""
    seeds = f"; mean ± standard deviation over {results.seeds} seeds" if results.seeds > 1 else ""
    names = [titled_metric(metric) for metric in errors_of(profile)]
    columns = ["method", *((*names, "p") * len(betas))]
    return Table(f"{titled(task)}{number}{seeds}", columns, rows, betas)


def _error(results: Results, key: tuple[str, float, str, str], best: float) -> Cell:
    task, beta, name, metric = key
    score = results.scores[key]
    kind = "worse" if score.mean > results.scores[task, beta, "global_mean", metric].mean else ""
    kind = "best" if f"{score.mean:.4f}" == f"{best:.4f}" else kind
    notes = [] if score.sd is None else [f"± {score.sd:.4f}"]
    if metric == "median_mae":
        notes.append(f"of means {results.scores[task, beta, name, 'mae'].mean:.4f}")
    clipped = metric.removesuffix("_raw")
    within = results.scores[task, beta, name, clipped].mean
    if abs(within - score.mean) >= 5e-5:
        notes.append(f"clipped {within:.4f}")
    return Cell(
        f"{score.mean:.4f}",
        kind,
        notes,
        _printed(results.ids[name], task, beta, clipped.removeprefix("median_")),
    )


def _printed(method: MethodId, task: str, beta: float, metric: str) -> str:
    """The paper's value for a method on plain MF."""
    key = (task, beta, method.method, metric)
    published = "" if method.method == "metaem" else "mf"
    if key not in TABLE_3 or method.base != published:
        return ""
    return f"{TABLE_3[key]:.4f}{' (?)' if key in DOUBTED else ''}"


def _p_value(score: Score) -> str:
    if score.p_value is None:
        return ""
    return "<.0001" if score.p_value < 1e-4 else f"{score.p_value:.4f}".removeprefix("0")


def data(results: Results) -> Table:
    """Table 2: ours beside the paper's."""
    counts = ("domain", "users", "items", "ratings", "shared users")
    columns = (*counts, "density", "mean rating", "twins")
    rows = []
    for task, frame in results.statistics.items():
        rows.append(Row(titled(task)))
        printed = TABLE_2.get(task)
        sides = printed[:2] if printed else ()
        for side, ours in enumerate(frame.iter_rows(named=True)):
            paper = [f"{n:,}" for n in (*sides[side], printed.overlap)] if printed else [""] * 4
            rows.append(Row(ours["domain"], _counts(ours, paper)))
    caption = (
        "Ratings after filtering; the paper's Table 2 in italics. Twins: items with nearly the "
        "same raters as an item of the other domain"
    )
    if "movie-music" in results.statistics:
        caption += (
            ". It prints 76,258 music users for Task 1, and 75,258, as in the file, for Task 3"
        )
    return Table(caption, columns, rows)


def _counts(ours: Mapping[str, float | None], paper: Sequence[str]) -> list[Cell]:
    names = ("users", "items", "ratings", "overlap")
    mean = ours["mean_rating"]
    counts = [Cell(f"{ours[n]:,}", paper=p) for n, p in zip(names, paper, strict=True)]
    counts += [Cell(f"{ours['density']:.4%}"), Cell("" if mean is None else f"{mean:.3f}")]
    return [*counts, Cell(f"{ours['twins']:,}")]


def fairness(results: Results, task: str, beta: float) -> Table:
    """Mean error by user in each group of activity, the gap between them, the worst tenth."""
    cell = (pl.col("task") == task) & (pl.col("beta") == beta)
    served = results.groups.filter(cell & (pl.col("grouping") == "history"))
    whole = {each["method"]: each for each in results.fairness.filter(cell).iter_rows(named=True)}
    sizes = dict(served.select("group", "users").unique("group").iter_rows())
    present = [name for name in GROUPS if name in sizes]
    by_group = {(m, g): e for m, g, e in served.select("method", "group", "user_mae").iter_rows()}
    rows = []
    for each in results.comparable:
        mine = whole[each.name]
        gap = None if mine["worst_group"] is None else mine["worst_group"] - mine["best_group"]
        values = [*(by_group[each.name, name] for name in present), gap, mine["worst_tenth"]]
        rows.append(_of_method(each, [Cell("" if v is None else f"{v:.4f}") for v in values]))
    users = "users, summed over seeds" if results.seeds > 1 else "users"
    groups = [f"{name} ({sizes[name]:,} {users})" for name in present]
    caption = f"{titled(task)}, {beta:.0%} cold: mean over users of each user's MAE"
    return Table(caption, ["method", *groups, "worst minus best", "worst tenth"], rows)


def closeness(results: Results) -> Table:
    """How far transformed vectors are from the target's, in numbers."""
    names = ("users", "count", "own", "other users'", "ratio", "fold-in error", "ridge")
    rows = []
    for each in results.closeness.iter_rows(named=True):
        method = results.ids[each["method"]]
        ratio = each["own"] / each["others"] if each["others"] else 1.0
        missed = "" if each["fold_in"] is None else f"{each['fold_in']:.3f}"
        cells = [each["users"], f"{each['count']:,}", f"{each['own']:.3f}"]
        cells += [f"{each['others']:.3f}", f"{ratio:.3f}", missed, f"{each['damping']:g}"]
        name = f"{titled(each['task'])}: {method.label}, {method.profile}"
        rows.append(Row(name, [*map(Cell, cells)], "ours" if method.is_metaem else ""))
    caption = (
        "Mean distance from target to transformed vectors; "
        "at ratio 1 another user's vector would do as well"
    )
    return Table(caption, ["method", *names], rows)
