"""Everything that can be set, from options, environment, a TOML file and a profile, in that order.

Any field is an environment variable, ``METAEM_PRETRAIN__EPOCHS``, and a TOML key.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    Field,
    TypeAdapter,
    ValidationError,
    field_serializer,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from flows.setting_sources import (
    CONFIG_FILE,
    PREFIX,
    Profile,
    TomlFile,
    assign,
    in_words,
    refuse_unknown_variables,
)
from flows.setting_sources import BadSettings as BadSettings  # who reads settings catches it
from metaem_core.config.choice import ChoiceBaselinesConfig, ChoiceConfig, ChoiceMappingConfig
from metaem_core.config.factor import Base, FactorConfig
from metaem_core.config.mapping import MappingConfig
from metaem_core.config.pretrain import PretrainConfig
from metaem_core.config.transfer import Method, TransferConfig
from metaem_core.data.ratings import RatingScale
from tasks.sources.amazon import Amazon2014, Amazon2018, Amazon2023
from tasks.sources.base import Source
from tasks.sources.files import Files
from tasks.sources.synthetic import Synthetic
from tasks.stages.report import ReportConfig
from tasks.store.artifacts import Store
from tasks.store.format import require_format
from tasks.store.remote import Shared, without_login

LEAST_EPSILON, MOST_EPSILON = 1e-3, 1e3

Feedback = Literal["stars", "choices"]
EVERY = "*"  # what a word means that is given for no domain in particular
ProfileName = Literal["calibrated", "paper"]
SourceName = Literal["synthetic", "amazon-2014", "amazon-2018", "amazon-2023", "files"]
StageConfig = TypeVar("StageConfig", PretrainConfig, MappingConfig, FactorConfig, TransferConfig)


def _of_two_domains(task: str) -> str:
    parts = re.fullmatch("([a-z0-9_]+)-([a-z0-9_]+)", task)
    if parts is None or parts[1] == parts[2]:
        raise ValueError("must name two domains, <source>-<target>, such as movie-music")
    return task


TaskName = Annotated[str, AfterValidator(_of_two_domains)]


class Settings(BaseSettings):
    """One run of the product."""

    model_config = SettingsConfigDict(
        extra="forbid", env_prefix=PREFIX, env_nested_delimiter="__", frozen=True
    )

    source: SourceName = "synthetic"
    task: TaskName = "movie-music"
    betas: Annotated[tuple[float, ...], NoDecode] = Field(default=(0.2, 0.5, 0.8), min_length=1)
    seeds: Annotated[tuple[int, ...], NoDecode] = Field(default=(1,), min_length=1)
    profile: ProfileName = "calibrated"
    store: Path = Path(".metaem")
    shared: str | None = Field(default=None, pattern=r"^[a-z0-9+]+://.")  # an fsspec URL
    tracking_uri: str | None = None  # None: SQLite in the store
    config: Path = CONFIG_FILE
    workers: int = Field(default=2, ge=1)  # stages run at once
    backend: Literal["simulation", "flower"] = "simulation"  # where the devices of both stages are

    feedback: Annotated[Mapping[str, Feedback], NoDecode] = {EVERY: "stars"}  # by domain
    twins: Literal["keep", "drop"] = "keep"  # of the source's items
    k: int = Field(default=5, ge=1)
    strict: bool = True
    scale: RatingScale = RatingScale()
    mirror: str | None = None  # base URL or folder in place of the source's own
    offline: bool = False

    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    pretrain: PretrainConfig = PretrainConfig()
    mapping: MappingConfig = MappingConfig()
    epsilons: Annotated[tuple[float, ...], NoDecode] = ()  # MetaEM under differential privacy
    delta: float = Field(default=1e-6, ge=1e-12, lt=1)  # with epsilons
    methods: Annotated[tuple[Method, ...], NoDecode] = ()  # compared with MetaEM
    bases: Annotated[tuple[Base, ...], NoDecode] = Field(default=("mf",), min_length=1)
    compared: Annotated[tuple[ProfileName, ...], NoDecode] = ("paper", "calibrated")
    factors: FactorConfig = FactorConfig()
    transfer: TransferConfig = TransferConfig()
    choice: ChoiceConfig = ChoiceConfig()
    choice_mapping: ChoiceMappingConfig = ChoiceMappingConfig()
    choice_baselines: ChoiceBaselinesConfig = ChoiceBaselinesConfig()
    ranking_users: int | None = Field(default=None, ge=1)  # at most; None: all cold users
    ranking_negatives: int = Field(default=0, ge=0)  # of the sampled protocol beside; 0: none
    ranking_length: int = Field(default=10, ge=1)
    report: ReportConfig = ReportConfig()

    synthetic: Synthetic = Synthetic()
    amazon_2014: Amazon2014 = Amazon2014()
    amazon_2018: Amazon2018 = Amazon2018()
    amazon_2023: Amazon2023 = Amazon2023()
    files: Files = Files()

    @field_validator("methods", mode="before")
    @classmethod
    def _spell_out_all(cls, value: object) -> object:
        """MetaEM is in every table, named or not."""
        if not isinstance(value, list):
            return value
        others = [name for name in value if name not in ("metaem", "all")]
        return [*(get_args(Method) if "all" in value else ()), *others]

    @field_validator("feedback", mode="before")
    @classmethod
    def _of_every_domain(cls, value: object) -> object:
        return {EVERY: value} if isinstance(value, str) else value

    @field_validator("betas", "seeds", "epsilons", "methods", "bases", "compared", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("betas")
    @classmethod
    def _require_fractions(cls, betas: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < beta < 1 for beta in betas):
            raise ValueError(f"every beta must lie strictly between 0 and 1, got {betas!r}")
        return tuple(dict.fromkeys(betas))

    @field_validator("seeds")
    @classmethod
    def _require_natural(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if min(seeds) < 0:
            raise ValueError(f"a seed must not be negative, got {seeds!r}")
        return tuple(dict.fromkeys(seeds))

    @field_validator("epsilons")
    @classmethod
    def _require_budgets(cls, epsilons: tuple[float, ...]) -> tuple[float, ...]:
        for epsilon in epsilons:
            if not (LEAST_EPSILON <= epsilon <= MOST_EPSILON or epsilon == math.inf):  # nor NaN
                raise ValueError(
                    f"every epsilon must lie between {LEAST_EPSILON:g} and {MOST_EPSILON:g} or be "
                    f"inf, got {epsilon!r}"
                )
        return tuple({f"{epsilon:g}": epsilon for epsilon in epsilons}.values())  # as named

    @field_validator("methods", "bases", "compared")
    @classmethod
    def _name_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(names))

    @field_validator("pretrain", "mapping", "factors", "transfer")
    @classmethod
    def _leave_to_the_run(cls, stage: StageConfig) -> StageConfig:
        if stage.seed != 0 or stage.scale != RatingScale():
            raise ValueError("the run sets a stage's seed and scale: use `seeds` and `scale`")
        return stage

    @field_validator("choice")
    @classmethod
    def _leave_seeds_to_the_run(cls, stage: ChoiceConfig) -> ChoiceConfig:
        if stage.seed != 0:
            raise ValueError("the run sets a stage's seed: use `seeds`")
        return stage

    @field_serializer("mirror", "shared", "tracking_uri")
    def _hide_logins(self, url: str | None) -> str | None:
        """Prefect stores a flow's parameters, so they must hold no password."""
        return without_login(url) if url else url

    def of_task(self, task: str) -> "Settings":
        """The same settings for another task."""
        try:
            checked = TypeAdapter(TaskName).validate_python(task)
        except ValidationError as error:
            raise BadSettings(in_words(error.errors())) from error
        return self.model_copy(update={"task": checked})

    @property
    def domains(self) -> tuple[str, str]:
        """Source and target domain."""
        source, _, target = self.task.partition("-")
        return source, target

    def feedback_of(self, domain: str) -> Feedback:
        """What the file of ``domain`` holds."""
        return self.feedback.get(domain, self.feedback.get(EVERY, "stars"))

    @property
    def without_stars(self) -> tuple[str, ...]:
        """The domains of the task that hold choices."""
        return tuple(name for name in self.domains if self.feedback_of(name) == "choices")

    @property
    def thresholds(self) -> tuple[float | None, float | None]:
        """The fewest stars of a choice in the source and in the target."""
        unrated, least = self.without_stars, self.choice.threshold
        source, target = (None if name in unrated else least for name in self.domains)
        return source, target

    @property
    def chosen_source(self) -> Source:
        """Where ratings come from, at the mirror if one is given."""
        chosen: Source = getattr(self, self.source.replace("-", "_"))
        if self.mirror and isinstance(chosen, Amazon2014 | Amazon2018 | Amazon2023):
            return replace(chosen, mirrors=(self.mirror,))
        return chosen

    def open_store(self) -> Store:
        """The store, with the place it shares with other machines tried out."""
        shared = Shared(self.shared) if self.shared else None
        if shared is not None:
            shared.try_out()
        require_format(self.store.resolve())
        return Store(self.store.resolve(), shared=shared)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options, environment, TOML file, profile; later ones fill in what earlier ones left."""
        return init_settings, env_settings, TomlFile(settings_cls), Profile(settings_cls)


def read_settings(options: Mapping[str, object], dotted: Iterable[str] = ()) -> Settings:
    """Settings from options (None: not given) and ``a.b=value`` assignments (``null``: None).

    Raises:
        BadSettings: a setting or a METAEM_ variable is unknown, or has a value that is not allowed.
    """
    refuse_unknown_variables(Settings.model_fields)
    values = {name: value for name, value in options.items() if value is not None}
    for assignment in dotted:
        assign(values, assignment, Settings.model_fields)
    try:
        return Settings(**values)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        # a part that is wrong is also missing: its absence is not reported again
        problems = [each for each in error.errors() if each["type"] != "too_short"]
        raise BadSettings(in_words(problems or error.errors())) from error
