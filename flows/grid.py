"""Every stage run of an experiment, submitted step by step for all its cells."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain

from flows.methods import baselines, other_metaems
from flows.runtime.runs import Input, Run, finished, flat, futures
from flows.settings import Settings
from metaem_core.config.dp import PrivateConfig
from metaem_core.config.factor import FactorConfig
from metaem_core.config.mapping import MappingConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.data.splitting import SplitConfig
from metaem_core.evaluation.lists import RankConfig
from metaem_core.evaluation.scores import EvaluateConfig
from tasks.flower.assign import partition_digest
from tasks.flower.backend import Flower
from tasks.models.backend import Backend, Simulation
from tasks.models.method_id import bias_transfer_dp, metaem_id
from tasks.stages.baseline import baseline
from tasks.stages.choice_mapping import ChoiceMappingRequest, choice_mapping
from tasks.stages.choice_pretrain import ChoicePretrainRequest, choice_pretrain
from tasks.stages.download import DownloadRequest, download
from tasks.stages.dp_biases import dp_biases
from tasks.stages.dp_transfer import dp_transfer
from tasks.stages.evaluate import evaluate
from tasks.stages.factorise import factorise
from tasks.stages.filter import FilterConfig, filter_ratings
from tasks.stages.mapping import MappingRequest, mapping
from tasks.stages.pretrain import PretrainRequest, pretrain
from tasks.stages.rank import RankRequest, rank
from tasks.stages.split import split_users
from tasks.stages.statistics import StatisticsConfig, statistics
from tasks.stages.twins import TwinsConfig, twins
from tasks.stages.visualise import VisualiseConfig, visualise
from tasks.store.artifacts import Store
from tasks.store.stage import P, Stage, bind

Cell = tuple[float, int]  # beta, seed


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
    twins: Run | None = None
    statistics: Run | None = None
    splits: dict[Cell, Run] = field(default_factory=dict)
    models: dict[Cell, list[Run]] = field(default_factory=dict)  # source, target
    mappings: dict[Cell, Run] = field(default_factory=dict)
    choice_models: dict[Cell, list[Run]] = field(default_factory=dict)  # source, target
    choice_mappings: dict[Cell, Run] = field(default_factory=dict)
    other_methods: dict[Cell, dict[str, Run]] = field(default_factory=dict)  # by name in tables
    evaluations: dict[Cell, Run] = field(default_factory=dict)
    rankings: dict[Cell, Run] = field(default_factory=dict)
    picture: Run | None = None
    report: Run | None = None
    left_out: bool = False  # whether a step was, because a domain has no stars

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
        work = f"{stage.name} {config!r} {[id(run) for run in flat(inputs)]}"
        if work not in self.submitted:
            self.submitted[work] = self._start(stage, label, config, *inputs)
        return self.submitted[work]

    def _start(self, stage: Stage[P], label: str, config: object, *inputs: Input) -> Run:
        name = f"{stage.name} {label}"
        bound = bind(stage, self.store, name, self.refresh)
        # futures stand for the artifacts they will be, which the stage's signature cannot say
        future = bound.submit(self.store, config, *map(futures, inputs))  # type: ignore[call-overload]
        run = Run(name, future, tuple(flat(inputs)))
        self.runs.append(run)
        return run

    def download(self) -> None:
        for domain in self.settings.domains:
            request = DownloadRequest(domain, self.settings.chosen_source, self.settings.offline)
            self.raw[domain] = self.submit(download, domain, request)

    def filter(self) -> None:
        settings = self.settings
        for domain, raw in self.raw.items():
            scale = settings.scale if settings.feedback_of(domain) == "stars" else None
            config = FilterConfig(settings.k, settings.strict, scale)
            self.domains[domain] = self.submit(filter_ratings, domain, config, raw)

    def find_twins(self) -> None:
        """The twins of the two domains; dropped, they leave another source to all further steps."""
        config = TwinsConfig(self.settings.twins == "drop", self.settings.k)
        self.twins = self.submit(twins, self.settings.task, config, *self.pair)
        if config.drop:
            self.domains[self.settings.domains[0]] = self.twins

    def describe(self) -> None:
        config = StatisticsConfig(*self.settings.domains, self.settings.without_stars)
        inputs = *self.pair, self.twins
        self.statistics = self.submit(statistics, self.settings.task, config, *inputs)

    def split(self) -> None:
        """The roles of the users of both domains."""
        for beta, seed in self.cells:
            config = SplitConfig(beta, self.settings.validation_fraction, seed)
            label = self._label((beta, seed))
            self.splits[beta, seed] = self.submit(split_users, label, config, *self.pair)

    def pretrain(self) -> None:
        """MetaEM's stage 1 by stars, in both domains."""
        for cell in self.splits:
            self.models[cell] = self._pretrained(self.settings.pretrain, cell)

    def mapping(self) -> None:
        """MetaEM's stage 2 by stars."""
        for cell in self.splits:
            configs = self.settings.pretrain, self.settings.mapping
            self.mappings[cell] = self._mapped(*configs, cell, self.models[cell])

    def choice_pretrain(self) -> None:
        """Stage 1 by choice, in both domains."""
        for cell in self.splits:
            settings, backend = self.settings, self._choice_backend
            choice = replace(settings.choice, seed=cell[1])
            if settings.backend == "flower":
                choice = replace(choice, payload="secure")  # real devices send nothing else
            # a mapping reads leading directions of the source alone
            of_domains = zip(settings.thresholds, (choice.leading, 0), strict=True)
            configs = [
                ChoicePretrainRequest(replace(choice, threshold=least, leading=p), backend)
                for least, p in of_domains
            ]
            self.choice_models[cell] = self._of_domains(choice_pretrain, configs, cell)

    def choice_mapping(self) -> None:
        """Stage 2 by choice."""
        for cell in self.splits:
            config, thresholds = self.settings.choice_mapping, self.settings.thresholds
            request = ChoiceMappingRequest(config, thresholds, self._choice_backend)
            run = self._of_cell(choice_mapping, request, cell, *self.choice_models[cell])
            self.choice_mappings[cell] = run

    def factorise(self) -> None:
        """The base models of the centralised methods."""
        for cell in self.splits:
            for request in baselines(self.settings, cell[1]):
                self._factorised(request.factors, cell)

    def baseline(self) -> None:
        """The other methods of Table 3, and MetaEM as printed, where the settings ask for them."""
        for cell in self.splits:
            self.other_methods[cell] = dict(chain(self._baselines(cell), self._other_metaems(cell)))

    def dp_biases(self) -> None:
        for cell in self.splits:
            for config in self._dp_configs(cell):
                self._biases(config, cell)

    def dp_transfer(self) -> None:
        """Bias transfer with DP, for each epsilon."""
        for cell in self.splits:
            for config in self._dp_configs(cell):
                name, parts = bias_transfer_dp(config.epsilon).name, self._biases(config, cell)
                run = self._of_cell(dp_transfer, config, cell, *parts, method=name)
                self.other_methods[cell][name] = run

    def evaluate(self) -> None:
        """The stars that every method expects of the cold users."""
        for cell in self.splits:
            settings = self.settings
            config = EvaluateConfig(settings.task, settings.scale)
            run = self.submit(evaluate, self._label(cell), config, *self._trained(cell))
            self.evaluations[cell] = run

    def rank(self) -> None:
        """Lists of all cold users by every method."""
        settings = self.settings
        thresholds, length = settings.thresholds, settings.ranking_length
        config = RankConfig(settings.task, settings.scale, thresholds, length)
        config = replace(config, negatives=settings.ranking_negatives)
        for cell in self.splits:
            config = replace(config, users=settings.ranking_users, seed=cell[1])
            others = finished(self.other_methods.get(cell, {}).values())
            models = self.choice_mappings[cell], self.mappings.get(cell)
            inputs = *self.pair, self.splits[cell], *models, others
            request = RankRequest(config, settings.choice_baselines)
            self.rankings[cell] = self.submit(rank, self._label(cell), request, *inputs)

    def visualise(self) -> None:
        """Figure 2: the lowest beta and the first seed."""
        cell = min(self.settings.betas), self.settings.seeds[0]
        config = VisualiseConfig(self.settings.task, cell[0], seed=cell[1])
        self.picture = self.submit(visualise, self._label(cell), config, *self._trained(cell))

    def _label(self, cell: Cell, method: str = "") -> str:
        return f"{method} {self.settings.task} {cell_name(*cell)}".strip()

    def _of_domains(
        self, stage: Stage[P], config: object, cell: Cell, method: str = ""
    ) -> list[Run]:
        """A stage's runs on the source, which the cells of a seed share, and a cell's target.

        ``config`` is one for both, or a list of two.
        """
        configs = config if isinstance(config, list) else [config] * 2
        source, target = self.pair
        label = f"{method} {self.settings.domains[0]} seed {cell[1]}".strip()
        return [
            self.submit(stage, label, configs[0], source, None),
            self.submit(stage, self._label(cell, method), configs[1], target, self.splits[cell]),
        ]

    def _of_cell(
        self, stage: Stage[P], config: object, cell: Cell, *models: Run, method: str = ""
    ) -> Run:
        """A stage's run on the trained domains of a cell."""
        label = self._label(cell, method)
        return self.submit(stage, label, config, *models, *self.pair, self.splits[cell])

    def _pretrained(self, config: PretrainConfig, cell: Cell, method: str = "") -> list[Run]:
        """MetaEM's stage 1."""
        config = replace(config, scale=self.settings.scale, seed=cell[1])
        request = PretrainRequest(config, self._backend(config))
        return self._of_domains(pretrain, request, cell, method)

    def _mapped(
        self,
        pretrained: PretrainConfig,
        config: MappingConfig,
        cell: Cell,
        models: list[Run],
        method: str = "",
    ) -> Run:
        """MetaEM's stage 2, between domains that were ``pretrained`` so."""
        config = replace(config, scale=self.settings.scale, seed=cell[1])
        pretrained = replace(pretrained, scale=self.settings.scale, seed=cell[1])
        request = MappingRequest(metaem_id(pretrained), config, self._backend(pretrained))
        return self._of_cell(mapping, request, cell, *models, method=method)

    def _backend(self, pretrained: PretrainConfig) -> Backend:
        if self.settings.backend == "simulation":
            return Simulation()
        return Flower(*self.settings.domains, partition_digest(self.store.root), pretrained)

    @property
    def _choice_backend(self) -> Backend:
        """Of choices, whose rounds know nothing of how stars are trained."""
        return self._backend(self.settings.pretrain)

    def _factorised(self, config: FactorConfig, cell: Cell) -> list[Run]:
        config = replace(config, scale=self.settings.scale, seed=cell[1])
        name = config.base if config.centred else f"{config.base}-paper"
        return self._of_domains(factorise, config, cell, name)

    def _baselines(self, cell: Cell) -> Iterator[tuple[str, Run]]:
        for request in baselines(self.settings, cell[1]):
            name, models = request.method.name, self._factorised(request.factors, cell)
            yield name, self._of_cell(baseline, request, cell, *models, method=name)

    def _other_metaems(self, cell: Cell) -> Iterator[tuple[str, Run]]:
        for pretrained, config in other_metaems(self.settings):
            name = metaem_id(pretrained).name
            models = self._pretrained(pretrained, cell, name)
            yield name, self._mapped(pretrained, config, cell, models, name)

    def _dp_configs(self, cell: Cell) -> list[PrivateConfig]:
        settings = self.settings
        fixed = settings.delta, settings.scale, cell[1]
        return [PrivateConfig(epsilon, *fixed) for epsilon in settings.epsilons]

    def _biases(self, config: PrivateConfig, cell: Cell) -> list[Run]:
        return self._of_domains(dp_biases, config, cell, bias_transfer_dp(config.epsilon).name)

    def _trained(self, cell: Cell) -> tuple[Input, ...]:
        """What there is to evaluate, once the other methods ended."""
        models = *self.models[cell], self.mappings[cell]
        return *self.pair, self.splits[cell], *models, finished(self.other_methods[cell].values())


def cell_name(beta: float, seed: int) -> str:
    """A cell in a run's name."""
    return f"beta {beta:g} seed {seed}"
