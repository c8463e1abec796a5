"""The report's tables as HTML."""

from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from metaem_core.breakdown import GROUPS
from tasks.findings import REFERENCES, Tally, tally
from tasks.html import Html, columns, details, heading, join, row, table, tag
from tasks.method_names import Named, Profile, parse
from tasks.origin import Origin
from tasks.panels import titled
from tasks.paper_tables import DOUBTED, TABLE_2, TABLE_3, TASKS
from tasks.results import Results, Score, errors_of


def tiles(results: Results) -> Html:
    """MetaEM against each reference, large."""
    told = [
        tag(
            "div",
            tag("strong", f"{each.better} of {each.cells}"),
            tag("span", f"cells in which MetaEM's RMSE is below {parse(reference).label}'s"),
            tag("small", f"{each.surely_better} significantly; above it in {each.surely_worse}"),
        )
        for reference in REFERENCES
        if (each := tally(results, "metaem", reference)).cells
    ]
    return tag("div", *told, kind="tiles") if told else Html()


def beats(results: Results, profile: Profile) -> Html:
    """In how many cells each method's RMSE is below each reference's."""
    names = [f"vs {parse(name).label}" for name in REFERENCES]

    def tallied(methods: Iterable[Named], caption: str) -> Html:
        body = (row(each.label, *_tallies(results, each), kind=_ours(each)) for each in methods)
        return table([columns("method", "mean RMSE", *names)], body, caption)

    plain, other = on_bases(results, profile)
    caption = (
        f"Profile {profile}: in how many of {len(results.cells)} cells the RMSE is lower, and in "
        "how many it is significantly lower or higher"
    )
    folded = [details("The same on GMF and DNN", tallied(other, caption))] if other else []
    return join([tallied([*results.of_profile(""), *plain], caption), *folded])


def on_bases(results: Results, profile: Profile) -> tuple[list[Named], list[Named]]:
    """A profile's methods on plain MF with MetaEM, and those on other base models."""
    methods = results.of_profile(profile)
    plain = [each for each in methods if each.base in ("", "mf")]
    return plain, [each for each in methods if each not in plain]


def _ours(method: Named) -> str:
    return "ours" if method.is_metaem else ""


def _tallies(results: Results, method: Named) -> Iterator[Html]:
    yield tag("td", f"{results.mean(method.name):.4f}")
    for reference in REFERENCES:
        if reference == method.name:
            yield tag("td", "")
        else:
            yield _tally(tally(results, method.name, reference))


def _tally(counted: Tally) -> Html:
    sure = f"{counted.surely_better} lower · {counted.surely_worse} higher"
    kind = "sure" if counted.surely_better > counted.surely_worse else ""
    kind = "worse" if counted.surely_worse > counted.surely_better else kind
    return tag("td", f"{counted.better} of {counted.cells}", tag("small", sure), kind=kind)


def errors(results: Results, task: str, profile: Profile) -> Html:
    """Table 3 of a task: MetaEM and the methods on plain MF; other base models below, folded."""
    plain, other = on_bases(results, profile)
    number = f", {TASKS[task]} of the paper" if task in TASKS else ""
    seeds = f"; mean ± standard deviation over {results.seeds} seeds" if results.seeds > 1 else ""
    caption = f"{titled(task)}{number}{seeds}"
    trivial = results.of_profile("")
    parts = [_errors(results, task, profile, [*trivial, *plain], caption)]
    if other:
        parts.append(
            details(
                f"{titled(task)} on GMF and DNN",
                _errors(results, task, profile, [*trivial, *other], caption),
            )
        )
    return join(parts)


def _errors(
    results: Results, task: str, profile: Profile, methods: Sequence[Named], caption: str
) -> Html:
    betas = results.betas(task)
    heads = [_per_beta(betas, 3), columns("method", *(("MAE", "RMSE", "p") * len(betas)))]
    cells = [(beta, metric) for beta in betas for metric in errors_of(profile)]
    best = {
        (beta, metric): min(results.scores[task, beta, each.name, metric].mean for each in methods)
        for beta, metric in cells
    }
    body = [heading("Predictors that know nothing of the paper", 1 + 3 * len(betas))]
    for before, each in zip([None, *methods], methods, strict=False):
        if before is not None and before.is_trivial and not each.is_trivial:
            body.append(heading(f"Methods, profile {profile}", 1 + 3 * len(betas)))
        told = []
        for beta in betas:
            told += [
                _error(results, (task, beta, each.name, metric), best[beta, metric])
                for metric in errors_of(profile)
            ]
            told.append(tag("td", p_value(results.scores[task, beta, each.name, "rmse"])))
        body.append(row(each.label, *told, kind=_ours(each)))
    return table(heads, body, caption)


def _per_beta(betas: Sequence[float], width: int) -> list[Html]:
    told = [tag("th", f"{b:.0%} cold", colspan=str(width), scope="colgroup") for b in betas]
    return [tag("th", ""), *told]


def _error(results: Results, key: tuple[str, float, str, str], best: float) -> Html:
    task, beta, name, metric = key
    score = results.scores[key]
    kind = "worse" if score.mean > results.scores[task, beta, "global_mean", metric].mean else ""
    kind = "best" if f"{score.mean:.4f}" == f"{best:.4f}" else kind
    told = [] if score.sd is None else [tag("small", f"± {score.sd:.4f}")]
    clipped = metric.removesuffix("_raw")
    within = results.scores[task, beta, name, clipped].mean
    if abs(within - score.mean) >= 5e-5:
        told.append(tag("small", f"clipped {within:.4f}"))
    return tag("td", f"{score.mean:.4f}", *told, *_printed(task, beta, name, clipped), kind=kind)


def _printed(task: str, beta: float, name: str, metric: str) -> list[Html]:
    """What the paper prints for a method on plain MF."""
    method = parse(name)
    key = (task, beta, method.method, metric)
    published = "" if method.method == "metaem" else "mf"
    if key not in TABLE_3 or method.base != published:
        return []
    doubt = " (?)" if key in DOUBTED else ""
    return [tag("small", f"paper {TABLE_3[key]:.4f}{doubt}", kind="paper")]


def p_value(score: Score) -> str:
    """As tables show it."""
    if score.p_value is None:
        return ""
    return "<.0001" if score.p_value < 1e-4 else f"{score.p_value:.4f}".removeprefix("0")


def data(results: Results) -> Html:
    """Table 2: ours beside the paper's."""
    names = ("domain", "users", "items", "ratings", "shared users", "density", "mean rating")
    body: list[Html] = []
    for task, frame in results.statistics.items():
        body.append(heading(titled(task), len(names)))
        printed = TABLE_2.get(task)
        sides = (printed.source, printed.target) if printed else (None, None)
        for ours, theirs in zip(frame.iter_rows(named=True), sides, strict=True):
            paper = (
                []
                if theirs is None or printed is None
                else [theirs.users, theirs.items, theirs.ratings, printed.overlap]
            )
            body.append(row(ours["domain"], *_counts(ours, paper)))
    caption = "Ratings after filtering; the paper's Table 2 in italics"
    if "movie-music" in results.statistics:
        caption += (
            ". It prints 76,258 music users for Task 1 and 75,258 for Task 3, the file's number"
        )
    return table([columns(*names)], body, caption)


def _counts(ours: dict[str, float], paper: Sequence[int]) -> Iterator[Html]:
    for place, name in enumerate(("users", "items", "ratings", "overlap")):
        theirs = [tag("small", f"paper {paper[place]:,}", kind="paper")] if paper else []
        yield tag("td", f"{ours[name]:,}", *theirs)
    yield tag("td", f"{ours['density']:.4%}")
    yield tag("td", f"{ours['mean_rating']:.3f}")


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
        body.append(row(each.label, *cells, kind=_ours(each)))
    heads = [_per_beta(betas, len(names)), columns("method", *(names * len(betas)))]
    return table(heads, body, f"{titled(task)}; higher is better")


def fair(results: Results) -> list[Named]:
    """The trivial predictors, MetaEM and the calibrated methods on plain MF."""
    shown = [*results.of_profile(""), *results.of_profile("calibrated")]
    return [each for each in shown if each.base in ("", "mf")]


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
        body.append(row(each.label, *(tag("td", c) for c in cells), kind=_ours(each)))
    groups = [join([name, tag("small", f" ({sizes[name]:,} users)")]) for name in present]
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


def legend(results: Results) -> str:
    """What the tables' marks mean."""
    return (
        "Shaded: the lowest of the column. Red: above the global mean, a constant. p: of the "
        f"clipped RMSE against {parse(results.reference).label}."
    )


def settings(made: Origin) -> Html:
    """What every stage ran with."""
    body = [
        row(
            f"{used.stage}, {used.profile}" if used.profile else used.stage,
            tag(
                "td",
                tag("code", "; ".join(f"{k} = {v}" for k, v in used.settings.items())),
                kind="text",
            ),
        )
        for used in made.used
    ]
    caption = "Of the first cell; the others differ in seed and cold share alone"
    return table([columns("stage", "settings")], body, caption)


def domains(made: Origin) -> Html:
    """The filtered ratings' addresses."""
    body = [row(name, tag("td", tag("code", str(ref)))) for name, ref in made.domains.items()]
    return table([columns("domain", "artifact")], body, "Filtered ratings")


def cells(made: Origin) -> Html:
    """Each cell's split and evaluation."""
    body = [
        row(
            f"{titled(cell.task)}, {cell.beta:.0%} cold, seed {cell.seed}",
            tag("td", tag("code", cell.split.digest[:16])),
            tag("td", tag("code", cell.evaluation.digest[:16])),
        )
        for cell in made.cells
    ]
    return table([columns("cell", "split", "evaluation")], body, "Digests, shortened")
