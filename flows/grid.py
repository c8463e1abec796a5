"""Every stage run of an experiment, submitted step by step for all its cells."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from prefect.futures import PrefectFuture

from flows.profiles import profiled
from flows.settings import ProfileName, Settings
from metaem_core.evaluation import EvaluateConfig
from metaem_core.methods.factor_config import Base, FactorConfig
from metaem_core.methods.mapping_config import MappingConfig
from metaem_core.methods.pretrain_config import PretrainConfig
from metaem_core.splitting import SplitConfig
from tasks.artifacts import ArtifactRef, Store
from tasks.caching import P, Stage, bind
from tasks.download import DownloadRequest, download
from tasks.evaluate import evaluate
from tasks.factorise import factorise
from tasks.filter import FilterConfig, filter_ratings
from tasks.mapping import mapping
from tasks.pretrain import pretrain
from tasks.report import report
from tasks.split import split_users
from tasks.statistics import StatisticsConfig, statistics
from tasks.transfer import TransferRequest, transfer
from tasks.visualise import VisualiseConfig, visualise

Result = PrefectFuture[ArtifactRef]
Cell = tuple[float, int]  # beta, seed


@dataclass
class Grid:
    """Every stage run of one set of settings; a step submits a stage's runs for all cells."""

    settings: Settings
    store: Store
    refresh: frozenset[str]
    submitted: dict[str, Result] = field(default_factory=dict)  # shared by the grids of a sweep
    runs: list[tuple[str, Result]] = field(default_factory=list)  # by name, inputs first
    raw: dict[str, Result] = field(default_factory=dict)  # by domain
    domains: dict[str, Result] = field(default_factory=dict)
    statistics: Result | None = None
    splits: dict[Cell, Result] = field(default_factory=dict)
    sources: dict[int, Result] = field(default_factory=dict)  # by seed: beta does not matter
    targets: dict[Cell, Result] = field(default_factory=dict)
    mappings: dict[Cell, Result] = field(default_factory=dict)
    rivals: dict[Cell, list[Result]] = field(default_factory=dict)
    evaluations: dict[Cell, Result] = field(default_factory=dict)
    picture: Result | None = None
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
        """Start a stage once its inputs are there; the same work is started once."""
        work = f"{stage.name} {config!r} {[id(each) for each in _flat(inputs)]}"
        if work not in self.submitted:
            self.submitted[work] = self._start(stage, label, config, *inputs)
        return self.submitted[work]

    def _start(self, stage: Stage[P], label: str, config: object, *inputs: object) -> Result:
        name = f"{stage.name} {label}"
        bound = bind(stage, self.store, name, self.refresh)
        # futures stand for the artifacts they will be, which the stage's signature cannot say
        run: Result = bound.submit(self.store, config, *inputs)  # type: ignore[call-overload]
        self.runs.append((name, run))
        return run

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
            where = f"{self.settings.task} {told(beta, seed)}"
            self.splits[beta, seed] = self.submit(split_users, where, config, *self.pair)

    def pretrain(self) -> None:
        for seed in self.settings.seeds:
            self.sources[seed] = self.pretrained(self.settings.pretrain, seed, None)
        for cell in self.splits:
            self.targets[cell] = self.pretrained(self.settings.pretrain, cell[1], cell)

    def pretrained(
        self, config: PretrainConfig, seed: int, cell: Cell | None, how: str = ""
    ) -> Result:
        """MetaEM's stage 1: of the source, or of a cell's target."""
        config = replace(config, scale=self.settings.scale, seed=seed)
        return self.submit(pretrain, *self._of_domain(how, config, seed, cell))

    def factorised(self, config: FactorConfig, seed: int, cell: Cell | None) -> Result:
        """The centralised methods' stage 1: of the source, or of a cell's target."""
        config = replace(config, scale=self.settings.scale, seed=seed)
        how = f"{config.base} " if config.centred else f"{config.base}-paper "
        return self.submit(factorise, *self._of_domain(how, config, seed, cell))

    def _of_domain(
        self, how: str, config: object, seed: int, cell: Cell | None
    ) -> tuple[str, object, Result, Result | None]:
        source, target = self.pair
        if cell is None:
            return f"{how}{self.settings.domains[0]} seed {seed}", config, source, None
        return f"{how}{self.settings.task} {told(*cell)}", config, target, self.splits[cell]

    def mapping(self) -> None:
        for cell in self.splits:
            models = self.sources[cell[1]], self.targets[cell]
            self.mappings[cell] = self.mapped(self.settings.mapping, cell, *models)

    def mapped(
        self, config: MappingConfig, cell: Cell, source: Result, target: Result, *, how: str = ""
    ) -> Result:
        """MetaEM's stage 2."""
        config = replace(config, scale=self.settings.scale, seed=cell[1])
        where = f"{how}{self.settings.task} {told(*cell)}"
        return self.submit(mapping, where, config, source, target, *self.pair, self.splits[cell])

    def compare(self) -> None:
        """The other methods of Table 3, and MetaEM as printed, where the settings ask for them."""
        for cell in self.splits:
            self.rivals[cell] = [*self._rivals(cell)]

    def _rivals(self, cell: Cell) -> Iterator[Result]:
        settings = self.settings
        if not settings.methods:
            return
        # where the run itself is as printed, its settings hold no calibrated values
        profiles = ("paper",) if settings.profile == "paper" else settings.compared
        for profile, base in product(profiles, settings.bases):
            yield from self._transfers(cell, profile, base)
        if {"mf"} < {
            *settings.bases
        } and settings.pretrain.base != "mf":  # Figure 3; its own are towers
            yield self._metaem(cell, "mf ", replace(settings.pretrain, base="mf"), settings.mapping)
        if "paper" in settings.compared and settings.profile != "paper":
            stage_1 = profiled(settings.pretrain, "paper", "pretrain")
            stage_2 = profiled(settings.mapping, "paper", "mapping")
            yield self._metaem(cell, "paper ", stage_1, stage_2)

    def _metaem(
        self, cell: Cell, how: str, stage_1: PretrainConfig, stage_2: MappingConfig
    ) -> Result:
        models = (self.pretrained(stage_1, cell[1], part, how) for part in (None, cell))
        return self.mapped(stage_2, cell, *models, how=how)

    def _transfers(self, cell: Cell, profile: ProfileName, base: Base) -> Iterator[Result]:
        settings = self.settings
        factors = replace(profiled(settings.factors, profile, "factors"), base=base)
        models = [self.factorised(factors, cell[1], part) for part in (None, cell)]
        for method in settings.methods:
            config = profiled(settings.transfer, profile, "transfer")
            config = replace(config, method=method, scale=settings.scale, seed=cell[1])
            request = TransferRequest(named(method, base, profile), config, factors)
            where = f"{request.name} {settings.task} {told(*cell)}"
            inputs = *models, *self.pair, self.splits[cell]
            yield self.submit(transfer, where, request, *inputs)

    def evaluate(self) -> None:
        for cell in self.splits:
            settings = self.settings
            config = EvaluateConfig(
                settings.task,
                settings.scale,
                settings.ranking_users,
                settings.ranking_length,
                seed=cell[1],
            )
            where = f"{settings.task} {told(*cell)}"
            self.evaluations[cell] = self.submit(evaluate, where, config, *self._trained(cell))

    def _trained(self, cell: Cell) -> tuple[Result | list[Result], ...]:
        models = self.sources[cell[1]], self.targets[cell], self.mappings[cell]
        return *self.pair, self.splits[cell], *models, self.rivals[cell]

    def visualise(self) -> None:
        """Figure 2: the lowest beta and the first seed."""
        cell = min(self.settings.betas), self.settings.seeds[0]
        config = VisualiseConfig(self.settings.task, cell[0], seed=cell[1])
        where = f"{self.settings.task} {told(*cell)}"
        self.picture = self.submit(visualise, where, config, *self._trained(cell))

    def summarise(self) -> None:
        self.report = reported([self], self.settings.task)

    def finish(self) -> "Outcome":
        """Wait for everything, inputs first; the first failure is raised."""
        return Outcome(
            made=tuple((name, run.result()) for name, run in self.runs),
            domains={domain: run.result() for domain, run in self.domains.items()},
            splits={cell: run.result() for cell, run in self.splits.items()},
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
    "transfer": Grid.compare,
    "evaluate": Grid.evaluate,
    "visualise": Grid.visualise,
    "report": Grid.summarise,
}


@dataclass(frozen=True)
class Outcome:
    """What a run left in the store."""

    made: tuple[tuple[str, ArtifactRef], ...]  # by the name of the stage's run
    domains: dict[str, ArtifactRef]
    splits: dict[Cell, ArtifactRef]
    statistics: ArtifactRef | None
    evaluations: tuple[ArtifactRef, ...]
    report: ArtifactRef | None


def reported(grids: Sequence[Grid], label: str) -> Result:
    """One report on every cell of these grids."""
    evaluations = [run for grid in grids for run in grid.evaluations.values()]
    statistics = [grid.statistics for grid in grids if grid.statistics is not None]
    pictures = [grid.picture for grid in grids if grid.picture is not None]
    first = grids[0]
    return first.submit(report, label, first.settings.report, evaluations, statistics, pictures)


def told(beta: float, seed: int) -> str:
    """A cell in a run's name."""
    return f"beta {beta:g} seed {seed}"


def named(method: str, base: str, profile: str) -> str:
    """A method's name in tables: base model and profile are told where they are not the default."""
    parts = [method, *([base] if base != "mf" else []), *([profile] if profile == "paper" else [])]
    return "-".join(parts)


def _flat(inputs: Iterable[object]) -> Iterator[object]:
    for each in inputs:
        if isinstance(each, list):
            yield from each
        else:
            yield each
