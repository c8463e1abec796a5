"""Every stage run of an experiment, submitted step by step for all its cells."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from flows.methods import other_metaems, rivals
from flows.profiles import compared
from flows.runtime.runs import Run, finished
from flows.settings import ProfileName, Settings
from metaem_core.config.dp import PrivateConfig
from metaem_core.config.factor import Base, FactorConfig
from metaem_core.config.mapping import MappingConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.config.transfer import Method
from metaem_core.data.splitting import SplitConfig
from metaem_core.evaluation.scores import EvaluateConfig
from tasks.flower.assign import dealt
from tasks.models.method_id import MethodId, bias_transfer_dp, metaem_id
from tasks.report.provenance import origin_digest
from tasks.stages.baseline import TransferRequest, transfer
from tasks.stages.download import DownloadRequest, download
from tasks.stages.dp_biases import dp_biases
from tasks.stages.dp_transfer import dp_transfer
from tasks.stages.evaluate import evaluate
from tasks.stages.factorise import factorise
from tasks.stages.filter import FilterConfig, filter_ratings
from tasks.stages.mapping import MappingRequest, mapping
from tasks.stages.mapping_remote import RemoteMappingConfig, mapping_remote
from tasks.stages.pretrain import pretrain
from tasks.stages.pretrain_remote import RemoteConfig, pretrain_remote
from tasks.stages.report import ReportRequest, report
from tasks.stages.split import split_users
from tasks.stages.statistics import StatisticsConfig, statistics
from tasks.stages.visualise import VisualiseConfig, visualise
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.stage import P, Stage, bind

Cell = tuple[float, int]  # beta, seed
Input = Run | list[Run] | None
K = TypeVar("K")


@dataclass
class Grid:
    """Every stage run of one set of settings; a step submits a stage's runs for all cells."""

    settings: Settings
    store: Store
    refresh: frozenset[str]
    submitted: dict[str, Run] = field(default_factory=dict)  # shared by the grids of a sweep
    runs: list[Run] = field(default_factory=list)  # inputs first
    raw: dict[str, Run] = field(default_factory=dict)  # by domain
    domains: dict[str, Run] = field(default_factory=dict)
    statistics: Run | None = None
    splits: dict[Cell, Run] = field(default_factory=dict)
    sources: dict[int, Run] = field(default_factory=dict)  # by seed: beta does not matter
    targets: dict[Cell, Run] = field(default_factory=dict)
    mappings: dict[Cell, Run] = field(default_factory=dict)
    rivals: dict[Cell, dict[str, Run]] = field(default_factory=dict)  # by name in tables
    evaluations: dict[Cell, Run] = field(default_factory=dict)
    picture: Run | None = None
    report: Run | None = None

    @property
    def cells(self) -> list[Cell]:
        """Every cold fraction with every seed."""
        return [(beta, seed) for seed in self.settings.seeds for beta in self.settings.betas]

    @property
    def pair(self) -> tuple[Run, Run]:
        """The filtered source and target."""
        source, target = self.settings.domains
        return self.domains[source], self.domains[target]

    def submit(self, stage: Stage[P], label: str, config: object, *inputs: Input) -> Run:
        """Start a stage once its inputs are there; the same work is started once."""
        work = f"{stage.name} {config!r} {[id(run) for run in _flat(inputs)]}"
        if work not in self.submitted:
            self.submitted[work] = self._start(stage, label, config, *inputs)
        return self.submitted[work]

    def _start(self, stage: Stage[P], label: str, config: object, *inputs: Input) -> Run:
        name = f"{stage.name} {label}"
        bound = bind(stage, self.store, name, self.refresh)
        # futures stand for the artifacts they will be, which the stage's signature cannot say
        future = bound.submit(self.store, config, *map(_futures, inputs))  # type: ignore[call-overload]
        run = Run(name, future, tuple(_flat(inputs)))
        self.runs.append(run)
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
    ) -> Run:
        """MetaEM's stage 1: of the source, or of a cell's target."""
        config = replace(config, scale=self.settings.scale, seed=seed)
        if self.settings.backend == "simulation":
            return self.submit(pretrain, *self._of_domain(how, config, seed, cell))
        domain = self.settings.domains[cell is not None]
        remote = RemoteConfig(config, domain, dealt(self.store.root))
        return self.submit(pretrain_remote, *self._of_domain(how, remote, seed, cell))

    def factorised(self, config: FactorConfig, seed: int, cell: Cell | None) -> Run:
        """The centralised methods' stage 1: of the source, or of a cell's target."""
        config = replace(config, scale=self.settings.scale, seed=seed)
        how = f"{config.base} " if config.centred else f"{config.base}-paper "
        return self.submit(factorise, *self._of_domain(how, config, seed, cell))

    def _of_domain(
        self, how: str, config: object, seed: int, cell: Cell | None
    ) -> tuple[str, object, Run, Run | None]:
        source, target = self.pair
        if cell is None:
            return f"{how}{self.settings.domains[0]} seed {seed}", config, source, None
        return f"{how}{self.settings.task} {told(*cell)}", config, target, self.splits[cell]

    def mapping(self) -> None:
        for cell in self.splits:
            models = self.sources[cell[1]], self.targets[cell]
            self.mappings[cell] = self.mapped(
                self.settings.mapping, self.settings.pretrain, cell, *models
            )

    def mapped(
        self,
        config: MappingConfig,
        pretrained: PretrainConfig,
        cell: Cell,
        source: Run,
        target: Run,
        *,
        how: str = "",
    ) -> Run:
        """MetaEM's stage 2, between domains that were ``pretrained`` so."""
        config = replace(config, scale=self.settings.scale, seed=cell[1])
        where = f"{how}{self.settings.task} {told(*cell)}"
        parts = source, target, *self.pair, self.splits[cell]
        if self.settings.backend == "simulation":
            request = MappingRequest(metaem_id(pretrained), config)
            return self.submit(mapping, where, request, *parts)
        both = replace(pretrained, scale=self.settings.scale, seed=cell[1])
        remote = RemoteMappingConfig(
            metaem_id(pretrained), config, both, *self.settings.domains, dealt(self.store.root)
        )
        return self.submit(mapping_remote, where, remote, *parts)

    def compare(self) -> None:
        """The other methods of Table 3, and MetaEM as printed, where the settings ask for them."""
        for cell in self.splits:
            self.rivals[cell] = dict(self._rivals(cell))

    def _rivals(self, cell: Cell) -> Iterator[tuple[str, Run]]:
        for method, base, profile in rivals(self.settings):
            name = MethodId(method, base, profile).name
            yield name, self._transferred(cell, method, base, profile)
        for stage_1, stage_2 in other_metaems(self.settings):
            name = metaem_id(stage_1).name
            models = [self.pretrained(stage_1, cell[1], of, f"{name} ") for of in (None, cell)]
            yield name, self.mapped(stage_2, stage_1, cell, *models, how=f"{name} ")
        for epsilon in self.settings.epsilons:
            yield bias_transfer_dp(epsilon).name, self._private(cell, epsilon)

    def _private(self, cell: Cell, epsilon: float) -> Run:
        """Bias transfer under differential privacy: its biases, then the line between them."""
        settings, name = self.settings, f"{bias_transfer_dp(epsilon).name} "
        config = PrivateConfig(epsilon, settings.delta, settings.scale, cell[1])
        models = [
            self.submit(dp_biases, *self._of_domain(name, config, cell[1], of))
            for of in (None, cell)
        ]
        where = f"{name}{settings.task} {told(*cell)}"
        return self.submit(dp_transfer, where, config, *models, *self.pair, self.splits[cell])

    def _transferred(self, cell: Cell, method: Method, base: Base, profile: ProfileName) -> Run:
        settings = self.settings
        own = settings.profile
        factors = replace(compared(settings.factors, own, profile, "factors"), base=base)
        models = [self.factorised(factors, cell[1], of) for of in (None, cell)]
        config = compared(settings.transfer, own, profile, "transfer")
        config = replace(config, method=method, scale=settings.scale, seed=cell[1])
        request = TransferRequest(MethodId(method, base, profile), config, factors)
        where = f"{request.method.name} {settings.task} {told(*cell)}"
        return self.submit(transfer, where, request, *models, *self.pair, self.splits[cell])

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

    def _trained(self, cell: Cell) -> tuple[Input, ...]:
        """What there is to evaluate, once the other methods ended."""
        models = self.sources[cell[1]], self.targets[cell], self.mappings[cell]
        return *self.pair, self.splits[cell], *models, finished(self.rivals[cell].values())

    def visualise(self) -> None:
        """Figure 2: the lowest beta and the first seed."""
        cell = min(self.settings.betas), self.settings.seeds[0]
        config = VisualiseConfig(self.settings.task, cell[0], seed=cell[1])
        where = f"{self.settings.task} {told(*cell)}"
        self.picture = self.submit(visualise, where, config, *self._trained(cell))

    def summarise(self) -> None:
        self.report = reported([self], self.settings.task)

    def missing(self) -> Iterator[str]:
        """What a report has to do without, and why: a line each."""
        task = self.settings.task
        for cell, evaluation in self.evaluations.items():
            lost = {"all methods": evaluation} if evaluation.failure else self.rivals[cell]
            for name, run in lost.items():
                if run.failure is not None:
                    yield f"{name}, {task} {told(*cell)}: {run.failure}"
        for name, extra in (("statistics", self.statistics), ("vectors", self.picture)):
            if extra is not None and extra.failure is not None:
                yield f"{name}, {task}: {extra.failure}"

    def finish(self) -> "Outcome":
        """Wait for everything; what failed first is raised unless a report tells of it."""
        for run in self.runs if self.report is None else [self.report]:
            run.result()
        return Outcome(
            made=tuple((run.name, run.result()) for run in finished(self.runs)),
            domains=_results(self.domains),
            splits=_results(self.splits),
            statistics=_results({0: self.statistics}).get(0) if self.statistics else None,
            evaluations=tuple(_results(self.evaluations).values()),
            report=self.report.result() if self.report else None,
            missing=tuple(self.missing()),
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
    missing: tuple[str, ...]  # what the report has to do without, and why


def reported(grids: Sequence[Grid], label: str) -> Run:
    """One report on every cell of these grids that could be evaluated."""
    wanted = [run for grid in grids for run in grid.evaluations.values()]
    evaluations = finished(wanted)
    if not evaluations:
        wanted[0].result()  # raises what failed
    statistics = finished(grid.statistics for grid in grids if grid.statistics is not None)
    pictures = finished(grid.picture for grid in grids if grid.picture is not None)
    first = grids[0]
    missing = tuple(line for grid in grids for line in grid.missing())
    origin = origin_digest(first.store, [run.result() for run in evaluations])
    request = ReportRequest(first.settings.report.reference, missing, origin)
    return first.submit(report, label, request, evaluations, statistics, pictures)


def told(beta: float, seed: int) -> str:
    """A cell in a run's name."""
    return f"beta {beta:g} seed {seed}"


def _results(runs: Mapping[K, Run]) -> dict[K, ArtifactRef]:
    return {key: run.result() for key, run in runs.items() if run.failure is None}


def _futures(given: Input) -> object:
    if isinstance(given, list):
        return [run.future for run in given]
    return given.future if given is not None else None


def _flat(inputs: Iterable[Input]) -> Iterator[Run]:
    for given in inputs:
        if given is not None:
            yield from given if isinstance(given, list) else [given]
