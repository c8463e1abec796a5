"""The results of a run, as the report shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from tasks.models.method_id import MethodId, Profile
from tasks.report.cells import OfCells
from tasks.report.lists import ListResults
from tasks.report.paper_tables import TABLE_2, DomainCounts
from tasks.report.provenance import Origin


@dataclass(frozen=True)
class Score:
    """A method's mean over the seeds of a cell."""

    mean: float
    sd: float | None  # None for one seed
    p_value: float | None  # against the report's reference


@dataclass(frozen=True)
class Results(OfCells):
    """Tables of all cells, and their provenance; without stars, only ``lists`` has cells."""

    reference: str
    ids: Mapping[str, MethodId]  # by name, of all that is in the tables of stars
    summary: pl.DataFrame  # Summary
    comparisons: pl.DataFrame  # Comparisons
    groups: pl.DataFrame  # GroupScores
    fairness: pl.DataFrame  # Fairness
    curves: pl.DataFrame  # ExperimentCurves of all cells
    lists: ListResults
    statistics: Mapping[str, pl.DataFrame]  # DomainStatistics by task
    points: pl.DataFrame  # Points, with the task
    closeness: pl.DataFrame  # Closeness, with the task
    origin: Origin
    missing: Sequence[str]  # lines on what could not be evaluated, and why

    @cached_property
    def scores(self) -> dict[tuple[str, float, str, str], Score]:
        """By task, beta, method and metric."""
        columns = self.summary.select(
            "task", "beta", "method", "metric", "mean", "sd", "p_value"
        ).iter_rows()
        return {(t, b, m, metric): Score(*score) for t, b, m, metric, *score in columns}

    @property
    def all_tasks(self) -> list[str]:
        """With stars or with lists."""
        return [*dict.fromkeys([*self.tasks, *self.lists.tasks])]

    @property
    def seeds(self) -> int:
        """The seeds of the cell with the fewest."""
        return min(int(n) for each in (self, self.lists) for n in each.summary["seeds"])

    @cached_property
    def methods(self) -> list[MethodId]:
        """Those scored in every cell: trivial predictors, MetaEM, then the others in order."""
        scored = self.summary.group_by("method", maintain_order=True).agg(
            pl.struct("task", "beta").n_unique().alias("cells")
        )
        named = [self.ids[name] for name, cells in scored.iter_rows() if cells == len(self.cells)]
        return sorted(named, key=lambda each: (not each.is_trivial, not each.is_metaem))

    def of_profile(self, profile: Profile) -> list[MethodId]:
        """The methods of a profile in every cell; the trivial predictors are of none."""
        return [each for each in self.methods if each.profile == profile]

    @property
    def trivial(self) -> list[MethodId]:
        """Predictors without embeddings: means, biases and user kNN."""
        return self.of_profile("")

    def on_mf(self, profile: Profile) -> list[MethodId]:
        """A profile's methods on plain MF, with MetaEM."""
        return [each for each in self.of_profile(profile) if each.base in ("", "mf")]

    def on_other_bases(self, profile: Profile) -> list[MethodId]:
        """A profile's methods on other base models than plain MF."""
        return [each for each in self.of_profile(profile) if each.base not in ("", "mf")]

    @property
    def comparable(self) -> list[MethodId]:
        """The trivial predictors, MetaEM and the calibrated methods on plain MF."""
        return [*self.trivial, *self.on_mf("calibrated")]

    def of_cell(self, task: str, beta: float) -> dict[str, dict[str, Score]]:
        """The scores of one task and cold fraction, by method and metric."""
        scores: dict[str, dict[str, Score]] = {}
        for (*cell, method, metric), score in self.scores.items():
            if cell == [task, beta]:
                scores.setdefault(method, {})[metric] = score
        return scores

    @property
    def profiles(self) -> list[Profile]:
        """The profiles that have methods."""
        known: tuple[Profile, ...] = ("calibrated", "private", "paper")
        return [profile for profile in known if self.of_profile(profile)]

    def mean(self, method: str, metric: str = "rmse") -> float:
        """The mean over all cells."""
        scores = [self.scores[*cell, method, metric].mean for cell in self.cells]
        return sum(scores) / len(scores)

    @property
    def papers_data(self) -> bool:
        """Whether the counts of both domains are exactly those of the paper's Table 2."""
        return (
            bool(self.tasks)
            and not self.origin.generated
            and all(
                task in TABLE_2
                and task in self.statistics
                and self.statistics[task].select(DomainCounts._fields).rows()
                == [*TABLE_2[task][:2]]
                for task in self.tasks
            )
        )


def errors_of(profile: Profile) -> tuple[str, str]:
    """The metrics to show: of means and medians; of raw means for methods as published."""
    return ("mae_raw", "rmse_raw") if profile == "paper" else ("median_mae", "rmse")


def titled_metric(metric: str) -> str:
    """``rmse_raw`` as RMSE, ``median_mae`` as MAE of medians."""
    return "MAE of medians" if metric == "median_mae" else metric.removesuffix("_raw").upper()
