"""What beats what, in words that follow from the numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from tasks.models.method_id import MethodId, Profile
from tasks.report.paper_tables import BETAS, METHODS, TABLE_3
from tasks.report.results import Results

REFERENCES = ("global_mean", "bias_transfer", "bias_transfer_fitted")
LEVEL = 0.05
LEVELLED = 0.0005  # a smaller relative difference is told as none


@dataclass(frozen=True)
class Finding:
    """What it is about, and what there is to say."""

    about: str
    text: str


@dataclass(frozen=True)
class Tally:
    """In how many cells a method's RMSE is lower than a reference's, and not by chance."""

    cells: int
    better: int
    surely_better: int
    surely_worse: int

    def __str__(self) -> str:
        sure = [f"{self.surely_better} significantly"] if self.better or self.surely_better else []
        sure += [f"{self.surely_worse} significantly worse"] if self.surely_worse else []
        return f"{self.better} of {self.cells} cells" + (f" ({', '.join(sure)})" if sure else "")


def tally(results: Results, method: str, reference: str) -> Tally:
    """Over all cells; the paired test over users decides what is sure."""
    rows = results.comparisons.filter(
        (pl.col("metric") == "rmse")
        & (pl.col("method") == method)
        & (pl.col("reference") == reference)
    )
    better = rows["difference"] < 0
    sure = rows.filter(pl.col("p_value") < LEVEL)["paired"]
    return Tally(rows.height, int(better.sum()), int((sure < 0).sum()), int((sure > 0).sum()))


def metaem_tallies(results: Results) -> list[tuple[str, Tally]]:
    """MetaEM against each reference that it was scored with."""
    tallies = [(reference, tally(results, "metaem", reference)) for reference in REFERENCES]
    return [(reference, count) for reference, count in tallies if count.cells]


def findings(results: Results) -> list[Finding]:
    """The most important first."""
    parts = (
        _metaem,
        _best,
        _calibrated,
        _private,
        _published,
        _printed,
        _ranking,
        _people,
        _vectors,
    )
    return [finding for part in parts for finding in part(results)]


def _metaem(results: Results) -> Iterator[Finding]:
    for mine in (each for each in results.of_profile("calibrated") if each.is_metaem):
        against = [
            f"{told(results.ids[reference])} in {tally(results, mine.name, reference)}"
            for reference in REFERENCES
        ]
        yield Finding("MetaEM", f"its RMSE is lower than that of {_listed(against)}.")


def _best(results: Results) -> Iterator[Finding]:
    """Who has the lowest mean RMSE, and where MetaEM stands."""
    ranked = sorted(_fair(results), key=lambda each: results.mean(each.name))
    first = ranked[0]
    place = f"{told(first)}'s, {results.mean(first.name):.4f}"
    places = [place for place, each in enumerate(ranked, 1) if each.is_metaem]
    if places == [1]:
        place += f"; the next is {told(ranked[1])}, {_gap(results, ranked[1], first)}"
    elif places:
        mine = ranked[places[0] - 1]
        place += f"; MetaEM is {_ordinal(places[0])} of {len(ranked)}, {_gap(results, mine, first)}"
    yield Finding("The lowest mean RMSE", f"{place}.")


def _gap(results: Results, second: MethodId, first: MethodId) -> str:
    more, least = results.mean(second.name), results.mean(first.name)
    if not least:  # where nothing is left to predict
        return f"{more:.4f} behind" if more else "level with it"
    gap = more / least - 1
    return f"{gap:.1%} behind" if gap >= LEVELLED else "level with it"


def _calibrated(results: Results) -> Iterator[Finding]:
    others = [each for each in results.of_profile("calibrated") if each.method != "metaem"]
    if others:
        fitted = [tally(results, each.name, "bias_transfer_fitted") for each in others]
        surely = sum(each.surely_better > 0 for each in fitted)
        yield Finding(
            "The other methods on the same ground",
            f"{_against_constant(results, others)} Significantly below fitted bias transfer, which "
            f"knows no taste, in at least one cell: {surely or 'none'}.",
        )


def _private(results: Results) -> Iterator[Finding]:
    """What differential privacy costs."""
    if methods := results.of_profile("private"):
        each = _listed([f"{results.mean(m.name):.4f} ({m.label})" for m in methods])
        without = [m for m in results.of_profile("calibrated") if m.is_metaem]
        beside = [f"bias transfer without it {results.mean('bias_transfer'):.4f}"]
        beside += [f"MetaEM {results.mean(m.name):.4f}" for m in without]
        beside.append(f"the global mean {results.mean('global_mean'):.4f}")
        yield Finding("Under differential privacy", f"mean RMSE {each}; {_listed(beside)}.")


def _published(results: Results) -> Iterator[Finding]:
    """Methods without centring; what Table 3 is about."""
    if methods := results.of_profile("paper"):
        clipped = "even with their predictions clipped to the scale: "
        yield Finding("Methods as published", clipped + _against_constant(results, methods))


def _against_constant(results: Results, methods: Sequence[MethodId]) -> str:
    tallies = [tally(results, each.name, "global_mean") for each in methods]
    if len(methods) == 1:
        return f"{methods[0].label} has a lower RMSE than the global mean in {tallies[0]}."
    always = sum(each.better == each.cells for each in tallies)
    never = sum(each.better == 0 for each in tallies)
    constant = "a lower RMSE than the global mean, a constant,"
    said = f"of {len(methods)}, {always} with {constant} in every cell, {never} in none."
    if always == len(methods):
        said = f"all {always} have {constant} in every cell."
    elif never == len(methods):
        said = f"of {never}, not one has {constant} in any cell."
    best = min(methods, key=lambda each: results.mean(each.name))
    mine, constants = results.mean(best.name), results.mean("global_mean")
    share = f"{mine / constants:.2f} times the constant's" if constants else f"{mine:.4f}"
    return f"{said} The best of them, {best.label}, has {share}."


def _printed(results: Results) -> Iterator[Finding]:
    """The paper's own numbers beside our constant, where the data are the same."""
    if not results.papers_data:
        return
    cells = [(task, beta) for task, beta in results.cells if beta in BETAS]
    lost = [
        method
        for task, beta in cells
        for method in METHODS
        if TABLE_3[task, beta, method, "rmse"]
        > results.scores[task, beta, "global_mean", "rmse"].mean
    ]
    yield Finding(
        "The paper's own numbers",
        f"{len(lost)} of its {len(cells) * len(METHODS)} RMSEs in these cells are above what the "
        f"global mean has here; of MetaEM's {len(cells)}, {lost.count('metaem')}.",
    )


def _ranking(results: Results) -> Iterator[Finding]:
    fair = _fair(results)
    for metric in results.summary["metric"].unique(maintain_order=True):
        if metric.startswith("hr_at_"):
            best = max(fair, key=lambda each: results.mean(each.name, metric))
            highest = f"{told(best)}'s, {results.mean(best.name, metric):.3f}"
            mine = [f"{results.mean(m.name, metric):.3f}" for m in fair if m.is_metaem]
            if mine and not best.is_metaem:
                highest += f"; MetaEM has {mine[0]}. Predicting stars is not recommending"
            length = metric.removeprefix("hr_at_")
            yield Finding("Ranking the catalogue", f"the highest HR@{length} is {highest}.")


def _people(results: Results) -> Iterator[Finding]:
    served = results.fairness.filter(
        (pl.col("method") == "metaem")
        & pl.col("worst_group").is_not_null()
        & (pl.col("user_mae") > 0)
    )
    if served.height:
        gap, tenth = served.select(
            (pl.col("worst_group") - pl.col("best_group")).mean(),
            (pl.col("worst_tenth") / pl.col("user_mae")).mean().alias("tenth"),
        ).row(0)
        yield Finding(
            "Who is served worse",
            f"MetaEM's mean error differs by {gap:.2f} stars between the best and the worst served "
            f"group of activity; the tenth of users that it serves worst has {tenth:.1f} times the "
            f"average error.",
        )


def _vectors(results: Results) -> Iterator[Finding]:
    cold = results.closeness.filter((pl.col("users") == "cold") & (pl.col("others") > 0))
    if cold.height:
        ratios = cold.group_by("method", maintain_order=True).agg(
            (pl.col("own") / pl.col("others")).mean()
        )
        each = _listed(
            [f"{ratio:.2f} for {_full(results.ids[m])}" for m, ratio in ratios.iter_rows()]
        )
        yield Finding(
            "Vectors of cold users",
            "how far they are from what the user's own ratings ask for, relative to any other "
            f"user's: {each}. At 1 a mapping knows nothing of the person.",
        )


def _fair(results: Results) -> list[MethodId]:
    return [*results.of_profile(""), *results.of_profile("calibrated")]


def told(method: MethodId) -> str:
    """The method in the middle of a sentence."""
    article = "the " if method.method.endswith("_mean") else ""
    return f"{article}{method.label}"


def _full(method: MethodId) -> str:
    how: dict[Profile, str] = {"paper": " as published"}
    return f"{method.label}{how.get(method.profile, '')}"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _ordinal(place: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(place % 10 if place % 100 not in (11, 12, 13) else 0)
    return f"{place}{ending or 'th'}"
