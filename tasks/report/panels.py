"""The report's pictures, drawn from its results."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from metaem_core.evaluation.metrics import GROUPS
from tasks.models.method_id import MethodId, Profile
from tasks.report.figures import COLUMNS, FAINT, INK, Panel
from tasks.report.paper_tables import TABLE_3, TASKS
from tasks.report.results import Results, errors_of, titled_metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COUNTS = {  # what each grouping counts
    "history": "the user's ratings in the source",
    "popularity": "the item's training ratings in the target",
}
MARKERS = ("o", "s", "D", "^")  # by cold fraction
COLOURS = {  # of the methods drawn as lines, in their order
    "global_mean": "#868e96",
    "item_mean": "#b08d57",
    "bias_transfer": "#4dabf7",
    "bias_transfer_fitted": "#1971c2",
    "emcdr": "#2f9e44",
    "ptupcdr": "#ae3ec9",
    "metaem": "#e8590c",
}
GENERALISED = ("emcdr", "ptupcdr", "metaem")  # the methods of Figure 3


def titled(task: str) -> str:
    """``movie-music`` as Movie → Music."""
    source, _, target = task.partition("-")
    return f"{source.replace('_', ' ').title()} → {target.replace('_', ' ').title()}"


def score_panels(results: Results, profile: Profile) -> list[Panel]:
    """A panel of errors for each task."""
    return [score_panel(results, task, profile) for task in results.tasks]


def score_panel(results: Results, task: str, profile: Profile) -> Panel:
    """RMSE of every method on plain MF, and of the trivial predictors, best on top."""
    shown = [*results.of_profile(""), *results.of_profile(profile)]
    betas = results.betas(task)
    _, metric = errors_of(profile)
    mean = {
        each: sum(results.scores[task, b, each.name, metric].mean for b in betas) / len(betas)
        for each in shown
        if each.base in ("", "mf")
    }
    rows = sorted(mean, key=lambda each: mean[each], reverse=True)
    crosses = ""
    if profile == "paper" and task in TASKS:
        crosses = f"\ncrosses: as the paper prints{'' if results.papers_data else ', other data'}"

    def draw(axis: "Axes") -> None:
        for place, each in enumerate(rows):
            _score_row(axis, results, (task, each, metric), place)
        axis.axvline(mean[results.ids["global_mean"]], color=INK, lw=0.8, ls="--", zorder=0)
        axis.set_yticks(range(len(rows)), [each.label for each in rows])
        axis.grid(axis="y", color=FAINT, lw=0.5)
        if mean[rows[0]] > 2 * mean[rows[-1]]:
            axis.set_xscale("log")
            axis.set_xticks(ticks := [1, 1.5, 2, 3, 4, 6], [f"{tick:g}" for tick in ticks])
            axis.minorticks_off()
        axis.set_xlabel(f"RMSE; dashed: global mean{crosses}")
        _legend(axis)

    alt = f"RMSE of {len(rows)} methods, {titled(task)}: the best is {rows[-1].label}"
    return Panel(f"{titled(task)}, {profile}", alt, draw, height=0.9 + 0.22 * len(rows))


def _score_row(axis: "Axes", results: Results, row: tuple[str, MethodId, str], place: int) -> None:
    task, method, metric = row
    tint = "#868e96" if method.is_trivial else "#748ffc"
    if method.is_metaem:
        tint = COLOURS["metaem"]
    for number, beta in enumerate(results.betas(task)):
        score = results.scores[task, beta, method.name, metric]
        axis.errorbar(
            [score.mean],
            [place],
            xerr=[score.sd or 0.0],
            fmt=MARKERS[number % len(MARKERS)],
            ms=5,
            color=tint,
            lw=1,
            label=f"{beta:.0%} cold" if place == 0 else None,
        )
        printed = TABLE_3.get((task, beta, method.method, "rmse"))
        if printed is not None and method.profile == "paper":
            axis.plot([printed], [place], marker="x", color=INK, alpha=0.6, markersize=5, ls="")


def group_panels(results: Results, task: str, beta: float) -> Iterator[Panel]:
    """RMSE by history length and by item popularity, for the main methods."""
    mine = results.groups.filter((pl.col("task") == task) & (pl.col("beta") == beta))
    for grouping, counted in COUNTS.items():
        groups = mine.filter(pl.col("grouping") == grouping)
        yield Panel(
            f"{titled(task)}, {beta:.0%} cold: by {grouping}",
            f"RMSE of the main methods by {counted}",
            partial(_group_lines, ids=results.ids, groups=groups, counted=counted),
            height=3.6,
        )


def _group_lines(
    axis: "Axes", ids: Mapping[str, MethodId], groups: pl.DataFrame, counted: str
) -> None:
    present = [name for name in GROUPS if name in groups["group"]]
    for method, tint in COLOURS.items():
        line = groups.filter(pl.col("method") == method)
        known = dict(line.select("group", "rmse").iter_rows())
        if known:
            width = 2.2 if method == "metaem" else 1.2
            points = [known.get(name, float("nan")) for name in present]
            axis.plot(points, marker="o", ms=3, lw=width, color=tint, label=ids[method].label)
    sizes = dict(groups.select("group", "ratings").unique("group").iter_rows())
    axis.set_xticks(range(len(present)), [f"{name}\n({sizes[name]:,})" for name in present])
    axis.set(xlabel=f"{counted} (number of test ratings)", ylabel="RMSE")
    axis.grid(axis="y", color=FAINT, lw=0.5)
    _legend(axis)


def base_panels(results: Results, profile: Profile) -> Iterator[Panel]:
    """Figure 3: MAE and RMSE of the mapping methods by base model, at the lowest beta."""
    methods = [each for each in results.of_profile(profile) if each.method in GENERALISED]
    if len({each.base for each in methods if not each.is_metaem}) < 2:
        return
    for task in results.tasks:
        for metric in errors_of(profile):
            yield Panel(
                f"{titled(task)}, {profile}: {titled_metric(metric)}",
                f"{titled_metric(metric)} of EMCDR, PTUPCDR and MetaEM by base model",
                partial(_bars, results=results, task=task, metric=metric, methods=methods),
                height=2.6,
            )


def _bars(
    axis: "Axes", results: Results, task: str, metric: str, methods: Sequence[MethodId]
) -> None:
    beta = results.betas(task)[0]
    order = ("mf", "fcf", "gmf", "dnn", "")
    ordered = sorted(methods, key=lambda m: (GENERALISED.index(m.method), order.index(m.base)))
    for place, each in enumerate(ordered):
        score = results.scores[task, beta, each.name, metric]
        first = each.method not in {before.method for before in ordered[:place]}
        axis.bar(
            place,
            score.mean,
            yerr=score.sd or 0.0,
            color=COLOURS[each.method],
            ecolor=INK,
            width=0.7,
            label=each.title if first else None,
        )
        axis.text(
            place, score.mean / 2, f"{score.mean:.3f}", ha="center", color="white", size="x-small"
        )
    constant = results.scores[task, beta, "global_mean", metric].mean
    axis.axhline(constant, color=INK, lw=0.8, ls="--")
    axis.set_xticks(range(len(ordered)), [each.base.upper() or "own" for each in ordered])
    _legend(axis)
    axis.set_ylabel(f"{titled_metric(metric)} (dashed: global mean)")


def _legend(axis: "Axes") -> None:
    """Draw the legend above the axes."""
    axis.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=COLUMNS,
        fontsize="x-small",
        framealpha=0,
        markerscale=1.4,
    )


def embedding_panels(results: Results, task: str) -> Iterator[Panel]:
    """Figure 2: target and transformed vectors of the same users."""
    mine = results.points.filter(pl.col("task") == task)
    for (name, users), points in mine.group_by("method", "users", maintain_order=True):
        method = results.ids[str(name)]
        whose = "cold users" if users == "cold" else "training users"
        yield Panel(
            f"{titled(task)}: {method.label} ({method.profile}), {whose}",
            f"t-SNE of target and transformed vectors of {points.height // 2} {whose}",
            partial(_scatter, points=points),
            height=3.4,
        )


def _scatter(axis: "Axes", points: pl.DataFrame) -> None:
    for kind, tint, marker in (("target", "#e8590c", "o"), ("transformed", "#1c7ed6", "^")):
        mine = points.filter(pl.col("kind") == kind)
        axis.plot(mine["x"], mine["y"], marker, ms=3, mew=0, alpha=0.75, color=tint, label=kind)
    axis.set(xticks=[], yticks=[])
    _legend(axis)


def curve_panels(results: Results, task: str) -> Iterator[Panel]:
    """Learning curves: MetaEM's stages, then the calibrated methods on plain MF."""
    curves = results.curves.filter(
        (pl.col("task") == task) & pl.col("validation_rmse").is_not_null()
    )
    stages = {"source": "MetaEM, source", "target": "MetaEM, target", "mapping": "MetaEM, mapping"}
    others = [each for each in results.of_profile("calibrated") if each.base == "mf"]
    for stage, name in {**stages, **{each.name: each.label for each in others}}.items():
        runs = curves.filter(pl.col("stage") == stage)
        if stage == "source":  # one training for all cold fractions
            runs = runs.filter(pl.col("beta") == pl.col("beta").min())
        if runs.height:
            yield Panel(
                name,
                f"validation RMSE of {name} by epoch, minus that of the first",
                partial(_curve_lines, runs=runs),
                height=2.7,
            )


def _curve_lines(axis: "Axes", runs: pl.DataFrame) -> None:
    betas = runs["beta"].unique().sort().to_list()
    tints = dict(zip(betas, ("#1971c2", "#f08c00", "#c2255c", "#2f9e44"), strict=False))
    for (beta, _), run in runs.group_by("beta", "seed", maintain_order=True):
        gained = run["validation_rmse"] - run["validation_rmse"].item(0)
        axis.plot(run["epoch"], gained, lw=0.9, color=tints.get(beta, INK))
    axis.set(xlabel="epoch", ylabel="validation RMSE minus epoch 1's")
    axis.grid(axis="y", color=FAINT, lw=0.5)
    if len(betas) > 1:
        for beta in betas:
            axis.plot([], [], color=tints.get(beta, INK), label=f"{beta:.0%} cold")
        _legend(axis)


def picture_files(results: Results) -> Iterator[tuple[str, list[Panel]]]:
    """The panels of each picture file, for readers of the Markdown and of MLflow."""
    tasks, profiles = results.tasks, results.profiles
    yield "scores", [score_panel(results, task, each) for task in tasks for each in profiles]
    yield "curves", [panel for task in tasks for panel in curve_panels(results, task)]
    lowest = [(task, results.betas(task)[0]) for task in tasks]
    yield "groups", [panel for cell in lowest for panel in group_panels(results, *cell)]
    yield "vectors", [panel for task in tasks for panel in embedding_panels(results, task)]
    yield "bases", [panel for each in profiles for panel in base_panels(results, each)]
