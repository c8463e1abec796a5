"""What accompanies every message to devices: the kind of job and its settings."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Literal

from pydantic import TypeAdapter
from torch import Tensor
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from metaem_core.config.choice import ChoiceConfig
from metaem_core.config.mapping import MappingConfig
from metaem_core.config.pretrain import OpenLayout, PretrainConfig

Kind = Literal["pretrain", "keep", "start", "mapping", "choice", "features", "overlap"]
OPEN = ("pretrain", "keep", "features")  # all others are masked


class Request(TypedDict):
    """What accompanies the bytes of every message to devices."""

    kind: Kind
    domain: str
    config: str  # JSON of Configs
    source: str  # of a mapping, its start or its sums: the domain whose vectors devices keep
    tag: str  # of the vectors that devices keep


@dataclass(frozen=True)
class Configs:
    """How both domains are pretrained, and how the mapping between them is trained."""

    pretrain: PretrainConfig
    mapping: MappingConfig = field(default_factory=MappingConfig)
    choice: ChoiceConfig = field(default_factory=ChoiceConfig)

    def encoded(self) -> str:
        """As a request has them."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, request: Request) -> "Configs":
        """Raises ValueError for anything else."""
        return TypeAdapter(cls).validate_json(request["config"])


def layout_of(config: PretrainConfig) -> OpenLayout:
    if config.payload == "secure" or config.payload == "rows":
        raise ValueError(f"payload {config.payload} does not run on real devices: use product")
    return config.payload


def vectors_tag(*profiles: Tensor) -> str:
    """By which devices know the vectors of one training from those of another."""
    content = b"".join(part.contiguous().numpy().tobytes() for part in profiles)
    return hashlib.sha256(content).hexdigest()[:32]
