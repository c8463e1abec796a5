"""Which method is better and by how much: sentences that follow from the numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from tasks.models.method_id import METAEM, MethodId
from tasks.report.comparison import LEVEL, Tally
from tasks.report.lists import OURS, POPULARITY, ListResults, named
from tasks.report.paper_tables import BETAS, METHODS, TABLE_3
from tasks.report.results import Results

REFERENCES = ("global_mean", "bias_transfer", "bias_transfer_fitted")
SMALLEST_GAP = 0.0005  # relative; a smaller one counts as none


@dataclass(frozen=True)
class Finding:
    """A sentence and its subject."""

    about: str
    text: str


def tally(results: Results, method: str, reference: str) -> Tally:
    """Over all cells; significance is that of the paired test over users."""
    rows = results.comparisons.filter(
        (pl.col("metric") == "rmse")
        & (pl.col("method") == method)
        & (pl.col("reference") == reference)
    )
    better = rows["difference"] < 0
    paired = rows.filter(pl.col("p_value") < LEVEL)["paired"]
    return Tally(rows.height, int(better.sum()), int((paired < 0).sum()), int((paired > 0).sum()))


def metaem_tallies(results: Results) -> list[tuple[MethodId, Tally]]:
    """MetaEM against each reference that it was scored with."""
    tallies = {name: tally(results, "metaem", name) for name in REFERENCES}
    return [(results.ids[name], count) for name, count in tallies.items() if count.cells]


def findings(results: Results) -> list[Finding]:
    """The most important first; those on stars only where there are some."""
    of_stars = (
        _lowest_rmse,
        _calibrated,
        _differential_privacy,
        _published,
        _printed,
        _fairness,
        _vectors,
    )
    parts = (_metaem, _lists, *of_stars) if results.cells else (_lists,)
    return [finding for part in parts for finding in part(results)]


def _metaem(results: Results) -> Iterator[Finding]:
    if any(each.is_metaem for each in results.of_profile("calibrated")):
        wins = [
            f"{in_sentence(reference)} in {count}" for reference, count in metaem_tallies(results)
        ]
        yield Finding("MetaEM", f"its RMSE is lower than that of {_listed(wins)}.")


def _lowest_rmse(results: Results) -> Iterator[Finding]:
    """Which method has the lowest mean RMSE, and where MetaEM stands."""
    ranked = sorted(_comparable(results), key=lambda each: results.mean(each.name))
    first = ranked[0]
    text = f"{in_sentence(first)} has {results.mean(first.name):.4f}"
    places = [place for place, each in enumerate(ranked, 1) if each.is_metaem]
    if places == [1]:
        text += f"; {in_sentence(ranked[1])} is next with {_gap(results, ranked[1], first)}"
    elif places:
        gap = _gap(results, ranked[places[0] - 1], first)
        text += f"; MetaEM is {_ordinal(places[0])} of {len(ranked)} with {gap}"
    yield Finding("Lowest mean RMSE", f"{text}.")


def _gap(results: Results, second: MethodId, first: MethodId) -> str:
    higher, lowest = results.mean(second.name), results.mean(first.name)
    if not lowest:  # a ratio says nothing
        return f"{higher:.4f}" if higher else "the same RMSE"
    gap = higher / lowest - 1
    return f"a {gap:.1%} higher RMSE" if gap >= SMALLEST_GAP else "the same RMSE"


def _calibrated(results: Results) -> Iterator[Finding]:
    others = [each for each in results.of_profile("calibrated") if each.method != "metaem"]
    if others:
        tallies = [tally(results, each.name, "bias_transfer_fitted") for each in others]
        better = sum(each.significantly_better > 0 for each in tallies)
        verb, cells = "beat" if better > 1 else "beats", "at least one" if better else "any"
        yield Finding(
            "Other calibrated methods",
            f"{_against_global_mean(results, others)} {better or 'None'} of the {len(others)} "
            f"{verb} fitted bias transfer, which uses biases only, significantly in {cells} cell.",
        )


def _differential_privacy(results: Results) -> Iterator[Finding]:
    """What differential privacy costs."""
    if methods := results.of_profile("private"):
        others = [each for each in results.of_profile("calibrated") if each.is_metaem]
        shown = [*methods, results.ids["bias_transfer"], *others, results.ids["global_mean"]]
        means = [f"{results.mean(each.name):.4f} ({each.label})" for each in shown]
        yield Finding("Differential privacy", f"mean RMSE {_listed(means)}.")


def _published(results: Results) -> Iterator[Finding]:
    """Methods without centring, as in Table 3."""
    if methods := results.of_profile("paper"):
        verdict = _against_global_mean(results, methods)
        yield Finding("Methods as published", f"with predictions clipped to the scale, {verdict}")


def _against_global_mean(results: Results, methods: Sequence[MethodId]) -> str:
    tallies = [tally(results, each.name, "global_mean") for each in methods]
    lower = "a lower RMSE than the global mean"
    if len(methods) == 1:
        return f"{methods[0].label} has {lower} in {tallies[0]}."
    always = sum(each.better == each.cells for each in tallies)
    never = sum(each.better == 0 for each in tallies)
    text = f"{always} of {len(methods)} have {lower} in every cell, and {never} in no cell."
    if always == len(methods):
        text = f"each of the {always} has {lower} in every cell."
    elif never == len(methods):
        text = f"none of the {never} has {lower} in any cell."
    best = min(methods, key=lambda each: results.mean(each.name))
    rmse, constant = results.mean(best.name), results.mean("global_mean")
    ratio = (
        f"{rmse / constant:.2f} times the RMSE of the global mean" if constant else f"{rmse:.4f}"
    )
    return f"{text} The best of them, {best.label}, has {ratio}."


def _printed(results: Results) -> Iterator[Finding]:
    """The paper's own numbers against our global mean, if the data are the same."""
    if not results.papers_data:
        return
    cells = [(task, beta) for task, beta in results.cells if beta in BETAS]
    higher = [
        method
        for task, beta in cells
        for method in METHODS
        if TABLE_3[task, beta, method, "rmse"]
        > results.scores[task, beta, "global_mean", "rmse"].mean
    ]
    yield Finding(
        "The paper's own numbers",
        f"{len(higher)} of its {len(cells) * len(METHODS)} RMSEs in these cells are higher than "
        f"that of the global mean on the same data; of MetaEM's {len(cells)}, "
        f"{higher.count('metaem')} are.",
    )


def _lists(results: Results) -> Iterator[Finding]:
    """MetaEM's lists beside those of popularity and of the best baseline."""
    lists = results.lists
    everywhere = {each.name: each.method for each in lists.methods(lists.cells)}
    if OURS not in everywhere:
        return
    ndcg, hr = lists.measures[:2]
    baselines = [name for name, method in everywhere.items() if method not in METAEM]
    best = max(baselines, key=lambda name: lists.mean(name, ndcg), default="")
    names = {n: f" of {lists.label(n)}" for n in (POPULARITY, best) if n in everywhere}
    if best:
        names[best] += ", the best baseline"
    first, then = (
        _against(lists, metric, labels)
        for metric, labels in ((ndcg, names), (hr, dict.fromkeys(names, "")))
    )
    tallies = [f"{name} in {count}" for name, count in lists.tallies.items()]
    higher = f" {named(ndcg)} is higher than that of {_listed(tallies)}." if tallies else ""
    yield Finding("MetaEM's lists", f"{first}; {then}.{higher}")


def _against(lists: ListResults, metric: str, labels: Mapping[str, str]) -> str:
    others = [f"{lists.mean(name, metric):.4f}{label}" for name, label in labels.items()]
    own = f"{named(metric)} {lists.mean(OURS, metric):.4f}"
    return f"{own} against {_listed(others)}" if others else own


def _fairness(results: Results) -> Iterator[Finding]:
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
            "Fairness",
            f"MetaEM's mean error is {gap:.2f} stars larger for the worst served group of activity "
            f"than for the best served one. For the worst served tenth of users it is {tenth:.1f} "
            "times the average.",
        )


def _vectors(results: Results) -> Iterator[Finding]:
    cold = results.closeness.filter((pl.col("users") == "cold") & (pl.col("others") > 0))
    if cold.height:
        ratios = cold.group_by("method", maintain_order=True).agg(
            (pl.col("own") / pl.col("others")).mean()
        )
        each = _listed(
            [f"{ratio:.2f} for {results.ids[m].cited}" for m, ratio in ratios.iter_rows()]
        )
        yield Finding(
            "Vectors of cold users",
            "their distance from the vector that fits the user's own target ratings, relative to "
            f"that from other users' vectors, is {each}. At 1 the mapping knows nothing about the "
            "individual user.",
        )


def _comparable(results: Results) -> list[MethodId]:
    return [*results.trivial, *results.of_profile("calibrated")]


def in_sentence(method: MethodId) -> str:
    """The method in the middle of a sentence."""
    article = "the " if method.method.endswith("_mean") else ""
    return f"{article}{method.label}"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _ordinal(place: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(place % 10 if place % 100 not in (11, 12, 13) else 0)
    return f"{place}{ending or 'th'}"
