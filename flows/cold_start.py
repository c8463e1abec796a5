"""The whole experiment: raw ratings in, scores of every method for cold-start users out."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from prefect import flow
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from flows.interrupt import stoppable
from flows.settings import Settings
from metaem_core.evaluation import EvaluateConfig
from metaem_core.splitting import SplitConfig
from tasks.artifacts import ArtifactRef, Store
from tasks.caching import ArtifactSerializer, P, Stage, bind
from tasks.download import DownloadRequest, download
from tasks.evaluate import evaluate
from tasks.filter import FilterConfig, filter_ratings
from tasks.mapping import mapping
from tasks.pretrain import pretrain
from tasks.report import report
from tasks.split import split_users
from tasks.statistics import StatisticsConfig, statistics
from tasks.tracking import Tracking, track

Result = PrefectFuture[ArtifactRef]
Cell = tuple[float, int]  # beta, seed


@dataclass
class Grid:
    """Every stage run of one set of settings; a step submits a stage's runs for all cells."""

    settings: Settings
    store: Store
    refresh: frozenset[str]
    raw: dict[str, Result] = field(default_factory=dict)  # by domain
    domains: dict[str, Result] = field(default_factory=dict)
    statistics: Result | None = None
    splits: dict[Cell, Result] = field(default_factory=dict)
    sources: dict[int, Result] = field(default_factory=dict)  # by seed: beta does not matter
    targets: dict[Cell, Result] = field(default_factory=dict)
    mappings: dict[Cell, Result] = field(default_factory=dict)
    evaluations: dict[Cell, Result] = field(default_factory=dict)
    report: Result | None = None

    @property
    def cells(self) -> list[Cell]:
        """Every cold fraction with every seed."""
        return [(beta, seed) for seed in self.settings.seeds for beta in self.settings.betas]

    @property
    def pair(self) -> tuple[Result, Result]:
        """The filtered source and target."""
        source, target = self.settings.domains
        return self.domains[source], self.domains[target]

    def submit(self, stage: Stage[P], label: str, config: object, *inputs: object) -> Result:
        """Start a stage once its inputs are there."""
        bound = bind(stage, self.store, f"{stage.name} {label}", self.refresh)
        # futures stand for the artifacts they will be, which the stage's signature cannot say
        return bound.submit(self.store, config, *inputs)  # type: ignore[call-overload,no-any-return]

    def download(self) -> None:
        for domain in self.settings.domains:
            request = DownloadRequest(domain, self.settings.chosen_source, self.settings.offline)
            self.raw[domain] = self.submit(download, domain, request)

    def filter(self) -> None:
        settings = self.settings
        config = FilterConfig(settings.k, settings.strict, settings.scale)
        for domain, raw in self.raw.items():
            self.domains[domain] = self.submit(filter_ratings, domain, config, raw)

    def describe(self) -> None:
        config = StatisticsConfig(*self.settings.domains)
        self.statistics = self.submit(statistics, self.settings.task, config, *self.pair)

    def split(self) -> None:
        for beta, seed in self.cells:
            config = SplitConfig(beta, self.settings.validation_fraction, seed)
            self.splits[beta, seed] = self.submit(split_users, told(beta, seed), config, *self.pair)

    def pretrain(self) -> None:
        source, target = self.pair
        config = replace(self.settings.pretrain, scale=self.settings.scale)
        for seed in self.settings.seeds:
            seeded = replace(config, seed=seed)
            self.sources[seed] = self.submit(pretrain, f"source seed {seed}", seeded, source, None)
        for cell, split in self.splits.items():
            seeded = replace(config, seed=cell[1])
            self.targets[cell] = self.submit(
                pretrain, f"target {told(*cell)}", seeded, target, split
            )

    def mapping(self) -> None:
        for cell, split in self.splits.items():
            config = replace(self.settings.mapping, scale=self.settings.scale, seed=cell[1])
            models = self.sources[cell[1]], self.targets[cell]
            self.mappings[cell] = self.submit(
                mapping, told(*cell), config, *models, *self.pair, split
            )

    def evaluate(self) -> None:
        for cell, split in self.splits.items():
            settings = self.settings
            config = EvaluateConfig(
                settings.task,
                settings.scale,
                settings.ranking_users,
                settings.ranking_length,
                seed=cell[1],
            )
            models = self.sources[cell[1]], self.targets[cell], self.mappings[cell]
            self.evaluations[cell] = self.submit(
                evaluate, told(*cell), config, *self.pair, split, *models
            )

    def summarise(self) -> None:
        evaluations = list(self.evaluations.values())
        self.report = self.submit(report, self.settings.task, self.settings.report, evaluations)

    def finish(self) -> "Outcome":
        """Wait for everything, inputs first; the first failure is raised."""
        kinds = (self.raw, self.domains, self.splits, self.sources, self.targets, self.mappings)
        for runs in kinds:
            for run in runs.values():
                run.result()
        return Outcome(
            statistics=self.statistics.result() if self.statistics else None,
            evaluations=tuple(run.result() for run in self.evaluations.values()),
            report=self.report.result() if self.report else None,
        )


STEPS: dict[str, Callable[[Grid], None]] = {
    "download": Grid.download,
    "filter": Grid.filter,
    "statistics": Grid.describe,
    "split": Grid.split,
    "pretrain": Grid.pretrain,
    "mapping": Grid.mapping,
    "evaluate": Grid.evaluate,
    "report": Grid.summarise,
}


@dataclass(frozen=True)
class Outcome:
    """What a run left in the store."""

    statistics: ArtifactRef | None
    evaluations: tuple[ArtifactRef, ...]
    report: ArtifactRef | None


def told(beta: float, seed: int) -> str:
    """A cell in a run's name."""
    return f"beta {beta:g} seed {seed}"


def _require_known(*names: str) -> None:
    for name in names:
        if name not in STEPS:
            raise ValueError(f"no stage {name!r}: use one of {', '.join(STEPS)}")


# with its own serializer Prefect would pickle what a failed flow raised
@flow(
    name="cold-start",
    flow_run_name="{settings.task}",
    validate_parameters=False,
    result_serializer=ArtifactSerializer(),
)
def cold_start(
    settings: Settings, refresh: frozenset[str] = frozenset(), until: str = "report"
) -> Outcome:
    """Run every stage up to ``until``, recomputing those in ``refresh`` and what changed."""
    store = Store(settings.store.resolve())
    grid = Grid(settings, store, refresh)
    for name, step in STEPS.items():
        step(grid)
        if name == until:
            break
    with stoppable():  # Prefect's own handlers would wait for running stages
        outcome = grid.finish()
    if outcome.report is not None:
        where = Tracking.chosen(settings.tracking_uri, store)
        track(store, where, outcome.evaluations, outcome.report)
    return outcome


def run(
    settings: Settings, refresh: frozenset[str] = frozenset(), until: str = "report"
) -> Outcome:
    """:func:`cold_start` with as many stages at once as the settings allow."""
    _require_known(until, *refresh)
    runner: ThreadPoolTaskRunner[ArtifactRef] = ThreadPoolTaskRunner(max_workers=settings.workers)
    bound = cold_start.with_options(task_runner=runner)  # type: ignore[arg-type]  # invariant
    return bound(settings, refresh, until)
