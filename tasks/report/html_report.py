"""The report as one self-contained HTML page."""

from collections.abc import Iterator
from importlib.metadata import version

from tasks.models.method_id import Profile
from tasks.report import html_origin, html_users
from tasks.report import html_tables as tables
from tasks.report.findings import findings
from tasks.report.html import Html, anchor, details, page, pictures, section, tag
from tasks.report.panels import (
    base_panels,
    curve_panels,
    embedding_panels,
    group_panels,
    score_panel,
    titled,
)
from tasks.report.results import Results

Chapter = tuple[str, list[Html]]

READING = (
    "MAE and RMSE are over all held-out target ratings of cold users, predictions clipped to the "
    "rating scale; lower is better. A difference counts as significant where a two-sided paired "
    "test over users has p < 0.05, without correction for the many tests. Cells of one task share "
    "people and are not independent of each other."
)
PROFILES: dict[Profile, str] = {
    "calibrated": (
        "Every method relative to mean and biases, stopped by validation users. This is the "
        "comparison to trust, with two things to know: MetaEM carries over rating habits where the "
        "others carry a bias, and one of its defaults was chosen with cold scores in sight."
    ),
    "private": (
        "MetaEM under differential privacy, as far as it goes there: item biases and the line from "
        "source to target biases, from noisy sums over devices. Epsilon is of one row's model in "
        "one cell and of one user, all his ratings in both domains taken together, if that model "
        "alone is published: of this page, whose other rows promise nothing and whose cells add "
        "up, it says nothing. At ∞ the same sums are without noise."
    ),
    "paper": (
        "Methods as they were published, without centring: what the paper's Table 3 is about. The "
        "last epoch counts, but for MetaEM, whose stages are stopped by held-out ratings and "
        "validation users. Predictions are shown as they are, below clipped to the scale."
    ),
}
PRINTED = (
    "The paper's printed values stand below ours in italics; (?) marks a likely misprint, an RMSE "
    "too close to its own MAE. "
)
OTHER_DATA = (
    "The paper's values are of other data, the Amazon reviews of 2014: they show what was printed "
    "and cannot be compared with ours."
)
VECTORS = (
    "Taste vectors of training and cold users in the target, by t-SNE, as in the paper's Figure 2. "
    "A training user's target vector is the model's own. A cold user has none: his is folded in, "
    "a ridge regression of his target ratings on the frozen item vectors that his transformed "
    "vector is multiplied with, for MetaEM those made from his own mapped vector. Spaces that were "
    "trained apart cannot be compared, and a picture persuades easily, so read the ratio first: "
    "the mean distance between the two vectors of one user over that between those of two users."
)
BASES = (
    "EMCDR, PTUPCDR and MetaEM on MF, on FCF, which is MF trained by devices, on GMF and on a "
    "two-tower DNN at the lowest cold share, as far as they were run. MetaEM's own are towers; on "
    "MF they have one linear layer."
)
GROUPS = (
    "Left, users by how much the source knows of them; right, items by how much the target does. "
    "In brackets, how many test ratings of all seeds."
)
CURVES = (
    "Validation RMSE by epoch, a line a seed, less that of the first epoch: what lies below zero "
    "was learnt. Training stops where it no longer falls, and the best epoch is kept."
)
FAIRNESS = (
    "A user counts once in every seed in which he is cold, however much he rates. The gap is "
    "between the best and the worst served group of at least 20, so counted; the worst tenth are "
    "those with the largest errors."
)

MISSING = (
    "These could not be evaluated; the command, repeated, computes nothing else. Means are over "
    "the seeds that there are. A method without any seed of a cell is left out of what compares "
    "all cells; its other cells are in report.md and summary.parquet."
)


def write_page(results: Results) -> str:
    """The whole report."""
    chapters = [*_chapters(results)]
    links = [tag("a", title, href=f"#{anchor(title)}") for title, _ in chapters]
    head = tag(
        "header",
        tag("h1", "Recommending to cold-start users"),
        tag("p", _subtitle(results)),
        tag("nav", *links),
    )
    made = f"MetaEM {version('metaem')}. This page holds no user's data and loads nothing."
    return page(
        "MetaEM: report",
        head,
        *(section(title, *content) for title, content in chapters),
        tag("footer", made),
    )


def _subtitle(results: Results) -> str:
    tasks = ", ".join(titled(task) for task in results.tasks)
    trained = sum(not each.is_trivial for each in results.methods)
    trivial = len(results.methods) - trained
    seeds = f"{results.seeds} seeds" if results.seeds > 1 else "one seed"
    kind = "generated ratings of a planted world" if results.origin.generated else "real ratings"
    return (
        f"{tasks}: {trained} trained methods and {trivial} predictors that know nothing of the "
        f"paper, in {len(results.cells)} cells of task and cold share, {seeds} each, on {kind}."
    )


def _chapters(results: Results) -> Iterator[Chapter]:
    points = (tag("li", tag("b", each.about), f": {each.text}") for each in findings(results))
    short = tag("div", tables.tiles(results), tag("ul", *points), kind="short")
    yield "In short", [short, tag("p", READING, kind="note")]
    if results.missing:
        lines = (tag("li", line) for line in results.missing)
        yield "Missing", [tag("p", MISSING), tag("ul", *lines)]
    yield "Who beats what", [tables.beats(results, profile) for profile in results.profiles]
    if results.statistics:
        yield "Data", [tables.data(results)]
    for profile in results.profiles:
        yield f"Errors: {profile}", [*_errors(results, profile)]
    if results.points.height:
        yield "Vectors", [tag("p", VECTORS), html_users.closeness(results), *_vectors(results)]
    if bases := [panel for each in results.profiles for panel in base_panels(results, each)]:
        yield "Base models", [tag("p", BASES), pictures(bases)]
    yield "Ranking", [html_users.ranking(results, task) for task in results.tasks]
    yield "Known and unknown", [tag("p", GROUPS), *_groups(results)]
    yield "Fairness", [tag("p", FAIRNESS), *_fairness(results)]
    curves = [
        details(titled(task), pictures(curve_panels(results, task))) for task in results.tasks
    ]
    yield "Learning curves", [tag("p", CURVES), *curves]
    yield "How it was made", [*_origin(results)]


def _errors(results: Results, profile: Profile) -> Iterator[Html]:
    yield tag("p", PROFILES[profile])
    if profile != "private":
        yield tag("p", PRINTED + ("" if results.papers_data else OTHER_DATA), kind="note")
    yield pictures(score_panel(results, task, profile) for task in results.tasks)
    yield from (tables.errors(results, task, profile) for task in results.tasks)
    yield tag("p", tables.legend(results), kind="note")


def _vectors(results: Results) -> Iterator[Html]:
    first, *others = results.points["task"].unique(maintain_order=True)
    yield pictures(embedding_panels(results, first))
    for task in others:
        yield details(titled(task), pictures(embedding_panels(results, task)))


def _groups(results: Results) -> Iterator[Html]:
    for task in results.tasks:
        first, *others = results.betas(task)
        yield pictures(group_panels(results, task, first))
        for beta in others:
            yield details(
                f"{titled(task)}, {beta:.0%} cold", pictures(group_panels(results, task, beta))
            )


def _fairness(results: Results) -> Iterator[Html]:
    for task in results.tasks:
        first, *others = results.betas(task)
        yield html_users.fairness(results, task, first)
        for beta in others:
            yield details(
                f"{titled(task)}, {beta:.0%} cold", html_users.fairness(results, task, beta)
            )


def _origin(results: Results) -> Iterator[Html]:
    made = results.origin
    sources = (tag("li", f"{domain}: {told}") for domain, told in made.data.items())
    yield tag("p", "Where the ratings came from:")
    yield tag("ul", *sources)
    versions = ", ".join(f"{name} {number}" for name, number in made.versions.items())
    yield tag("p", f"Computed with {versions}.")
    yield details("Settings of the stages", html_origin.settings(made))
    yield details(
        "Artifacts: the same digest is the same content",
        html_origin.domains(made),
        html_origin.cells(made),
    )
