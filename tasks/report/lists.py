"""Lists of target items for cold users: means over seeds, and paired tests of their NDCG."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import polars as pl

from data_contracts.evaluation import ListScores, UserLists
from tasks.models.method_id import METAEM, MethodId, read_methods
from tasks.report.cells import OfCells, by_cell, labelled
from tasks.report.comparison import (
    CELL,
    LEVEL,
    Tally,
    paired_interval,
    paired_p_value,
    totals,
)
from tasks.store.artifacts import ArtifactRef, Store

OURS, POPULARITY, MAIN = "metaem_choice", "popularity", "chosen"
NDCG = pl.col("metric").str.starts_with("ndcg_at_")
NAMES = {"ndcg": "NDCG", "hr": "HR", "recall": "Recall", "mrr": "MRR"}
DIVERSITY = ("coverage", "first_share", "popularity", "gini")
COMPARISON = {
    **{"task": pl.String, "beta": pl.Float64, "relevant": pl.String, "reference": pl.String},
    **{"method": pl.String, "users": pl.UInt32},
    **dict.fromkeys(["difference", "low", "high", "p_value"], pl.Float64),
}
Best = Mapping[tuple[str, float, str], str]  # by task, beta and what is relevant


@dataclass(frozen=True)
class ListResults(OfCells):
    """Measures of lists in all cells."""

    ids: Mapping[str, MethodId]  # by name
    summary: pl.DataFrame  # ListSummary
    comparisons: pl.DataFrame  # ListComparisons

    @cached_property
    def means(self) -> dict[tuple[str, float, str, str], dict[str, float]]:
        """By task, beta, what is relevant and measure; then by method."""
        means: dict[tuple[str, float, str, str], dict[str, float]] = {}
        columns = self.summary.select(*CELL, "relevant", "metric", "method", "mean")
        for *key, method, mean in columns.iter_rows():
            task, beta, relevant, metric = key
            means.setdefault((task, beta, relevant, metric), {})[method] = mean
        return means

    @cached_property
    def best(self) -> Best:
        """The strongest baselines."""
        return strongest(self.summary, self.ids)

    def label(self, name: str) -> str:
        """A method in a sentence on lists."""
        method = self.ids[name]
        return method.cited if method.is_by_choice else f"{method.cited}, by stars"

    def relevant(self, task: str) -> list[str]:
        """What is relevant: every held-out item and, where there are stars, those liked."""
        mine = self.summary.filter((pl.col("task") == task) & (pl.col("relevant") != ""))
        return mine["relevant"].unique(maintain_order=True).to_list()

    @property
    def measures(self) -> list[str]:
        """Such as ndcg_at_10; what they are called depends on the length of the lists."""
        mine = self.summary.filter(pl.col("relevant") == MAIN)
        return mine["metric"].unique(maintain_order=True).to_list()

    def methods(self, cells: Sequence[tuple[str, float]]) -> list[MethodId]:
        """Those with lists in all of these cells."""
        lists = {
            (task, beta, method)
            for task, beta, method in self.summary.select(*CELL, "method").iter_rows()
        }
        names = self.summary["method"].unique(maintain_order=True)
        return [self.ids[n] for n in names if all((*cell, n) in lists for cell in cells)]

    def mean(self, method: str, metric: str) -> float:
        """The mean over all cells, with every held-out item relevant."""
        means = [self.means[*cell, MAIN, metric][method] for cell in self.cells]
        return sum(means) / len(means)

    @property
    def tallies(self) -> dict[str, Tally]:
        """MetaEM's NDCG against popularity and each cell's strongest baseline, where compared."""
        mine = self.comparisons.filter(method=OURS, relevant=MAIN)
        keys = mine.select(*CELL, "relevant", "reference").iter_rows()
        best = pl.Series(
            [self.best.get((t, b, r)) == name for t, b, r, name in keys], dtype=pl.Boolean
        )
        compared = {
            "popularity": mine.filter(reference=POPULARITY),
            "the best baseline of each cell": mine.filter(best),
        }
        return {name: _tally(rows) for name, rows in compared.items() if rows.height}


def named(metric: str) -> str:
    """``ndcg_at_10`` as NDCG@10."""
    name, _, length = metric.partition("_at_")
    return "@".join(filter(None, (NAMES[name], length)))


def _tally(compared: pl.DataFrame) -> Tally:
    sure = compared.filter(pl.col("p_value") < LEVEL)["difference"]
    better = int((compared["difference"] > 0).sum())
    return Tally(compared.height, better, int((sure > 0).sum()), int((sure < 0).sum()))


def gather_lists(store: Store, rankings: Sequence[ArtifactRef]) -> ListResults:
    """The measures of all rankings; a cell's users are held in memory one cell at a time."""
    ids = read_methods(store, rankings)
    summary = summarise_lists(labelled(store, rankings, "list_scores.parquet", ListScores))
    best = strongest(summary, ids)
    comparisons = [
        compare_lists(labelled(store, refs, "user_lists.parquet", UserLists), best)
        for refs in by_cell(store, rankings) or [[]]
    ]
    return ListResults(ids, summary, pl.concat(comparisons))


def left_out(store: Store, rankings: Sequence[ArtifactRef]) -> list[str]:
    """Methods that were not ranked, and why: a line each."""
    reasons = [cast(dict[str, str], store.read_json(ref, "left_out.json")) for ref in rankings]
    return [*dict.fromkeys(f"{name}: {why}" for each in reasons for name, why in each.items())]


def summarise_lists(scores: pl.DataFrame) -> pl.DataFrame:
    """Means and deviations over the seeds, in the order they first appear."""
    keys = [*CELL, "method", "relevant", "metric"]
    return scores.group_by(keys, maintain_order=True).agg(
        pl.len().cast(pl.UInt32).alias("seeds"),
        pl.col("value").mean().alias("mean"),
        pl.col("value").std().alias("sd"),  # null for a single seed
    )


def strongest(summary: pl.DataFrame, ids: Mapping[str, MethodId]) -> Best:
    """The method with the highest mean NDCG that is not MetaEM, among those with every seed."""
    keys = [*CELL, "relevant"]
    others = [name for name, each in ids.items() if each.method not in METAEM]
    complete = pl.col("seeds") == pl.col("seeds").max().over(keys)
    ranked = summary.filter(NDCG).filter(complete).filter(pl.col("method").is_in(others))
    ranked = ranked.sort("mean", descending=True, maintain_order=True)
    first = ranked.group_by(keys, maintain_order=True).first()
    return {(task, beta, r): name for task, beta, r, name in first.select(*keys, "method").rows()}


def compare_lists(users: pl.DataFrame, best: Best) -> pl.DataFrame:
    """Every method's NDCG minus that of popularity and of the strongest baseline, paired by user.

    Args:
        users: UserLists of the seeds of one or more cells.
    """
    rows = [
        (task, beta, relevant, *row)
        for (task, beta, relevant), cell in users.group_by(*CELL, "relevant", maintain_order=True)
        for row in _differences(cell, [POPULARITY, best.get((task, beta, relevant), POPULARITY)])
    ]
    return pl.DataFrame(rows, COMPARISON, orient="row")


def _differences(cell: pl.DataFrame, references: Iterable[str]) -> Iterator[tuple[object, ...]]:
    """A user is one observation: the sum over their seeds, in units of the mean over all lists."""
    sums = totals(cell.with_columns(value="ndcg"))
    per_list = sums.height / cell.select("user_id", "seed").n_unique()
    for reference in (name for name in dict.fromkeys(references) if name in sums.columns):
        for method in (name for name in sums.columns if name != reference):
            each = ((sums[method] - sums[reference]) * per_list).to_numpy()
            interval, p = paired_interval(each), paired_p_value(each)
            yield reference, method, len(each), float(each.mean()), *interval, p
