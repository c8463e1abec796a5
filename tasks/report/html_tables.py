"""Who beats what, Table 2 and Table 3 as HTML."""

from collections.abc import Iterable, Iterator, Sequence

from tasks.models.method_id import Named, Profile, parse
from tasks.report.findings import REFERENCES, Tally, tally
from tasks.report.html import Html, columns, details, heading, join, per_beta, row, table, tag
from tasks.report.panels import titled
from tasks.report.paper_tables import DOUBTED, TABLE_2, TABLE_3, TASKS
from tasks.report.results import Results, Score, errors_of


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
        body = (row(each.label, *_tallies(results, each), kind=ours(each)) for each in methods)
        return table([columns("method", "mean RMSE", *names)], body, caption)

    plain, other = on_bases(results, profile)
    caption = (
        f"Profile {profile}: in how many of {len(results.cells)} cells the RMSE is lower, and in "
        "how many it is significantly lower or higher"
    )
    folded = [details("The same on other base models", tallied(other, caption))] if other else []
    return join([tallied([*results.of_profile(""), *plain], caption), *folded])


def on_bases(results: Results, profile: Profile) -> tuple[list[Named], list[Named]]:
    """A profile's methods on plain MF with MetaEM, and those on other base models."""
    methods = results.of_profile(profile)
    plain = [each for each in methods if each.base in ("", "mf")]
    return plain, [each for each in methods if each not in plain]


def ours(method: Named) -> str:
    """The kind of a method's row."""
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
                f"{titled(task)} on other base models",
                _errors(results, task, profile, [*trivial, *other], caption),
            )
        )
    return join(parts)


def _errors(
    results: Results, task: str, profile: Profile, methods: Sequence[Named], caption: str
) -> Html:
    betas = results.betas(task)
    heads = [per_beta(betas, 3), columns("method", *(("MAE", "RMSE", "p") * len(betas)))]
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
        body.append(row(each.label, *told, kind=ours(each)))
    return table(heads, body, caption)


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


def legend(results: Results) -> str:
    """What the tables' marks mean."""
    return (
        "Shaded: the lowest of the column. Red: above the global mean, a constant. p: of the "
        f"clipped RMSE against {parse(results.reference).label}."
    )
