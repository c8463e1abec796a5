"""Where values of settings come from: the TOML file, the profile, assignments, the environment."""

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import PydanticBaseSettingsSource

from flows.profiles import PROFILES

CONFIG_FILE = Path("metaem.toml")
PREFIX = "METAEM_"
OUTSIDE = {"METAEM_ALERT_URL", "METAEM_DEBUG", "METAEM_REAL_DATA"}  # read elsewhere
UNKNOWN = object()

Fields = Mapping[str, FieldInfo]


class BadSettings(ValueError):
    """A setting that cannot be used; the message names it."""


class _Whole(PydanticBaseSettingsSource):
    """A source that is read as a whole."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[object, str, bool]:
        """Unused."""
        raise NotImplementedError


class TomlFile(_Whole):
    """The file that ``config`` names; only a file named on purpose has to exist."""

    def __call__(self) -> dict[str, object]:
        """The file's content."""
        path = Path(str(self.current_state.get("config", CONFIG_FILE)))
        if not path.is_file() and "config" not in self.current_state:
            return {}
        try:
            return tomllib.loads(path.read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise BadSettings(f"config file {str(path)!r}: {error}") from error


class Profile(_Whole):
    """What the chosen profile sets apart from the defaults."""

    def __call__(self) -> dict[str, object]:
        """The profile's values; an unknown name is left for validation to refuse."""
        return {**PROFILES.get(str(self.current_state.get("profile", "calibrated")), {})}


def refuse_unknown_variables(fields: Fields) -> None:
    """Raise BadSettings for METAEM_ variables that name no setting: pydantic ignores them."""
    names = sorted(name for name in os.environ if name.upper().startswith(PREFIX))
    unknown = [n for n in names if n.upper() not in OUTSIDE and not _is_setting(n, fields)]
    if unknown:
        raise BadSettings(f"unknown environment variables {unknown}: correct or remove them")


def _is_setting(variable: str, fields: Fields) -> bool:
    path = variable[len(PREFIX) :].lower().split("__")
    return _default(path, fields) is not UNKNOWN


def assign(options: dict[str, object], assignment: str, fields: Fields) -> None:
    """Put one ``a.b=value`` into ``options``; raises BadSettings for any other form."""
    key, equals, value = assignment.partition("=")
    if not equals:
        raise BadSettings(f"--set takes key=value, got {assignment!r}")
    *path, last = key.strip().split(".")
    place = options
    for name in path:
        inner = place.setdefault(name, {})
        if not isinstance(inner, dict):
            raise BadSettings(f"--set {key}: {name!r} has no fields")
        place = inner
    several = path and isinstance(_default([*path, last], fields), tuple)
    place[last] = None if value == "null" else value.split(",") if several else value


def _default(path: list[str], fields: Fields) -> object:
    """The default of a nested setting; UNKNOWN if there is no such setting."""
    name, *rest = path
    place: object = fields[name].default if name in fields else UNKNOWN
    for part in rest:
        if isinstance(place, Mapping):
            return None  # its keys are free
        place = getattr(place, part, UNKNOWN) if is_dataclass(place) else UNKNOWN
    return place


def in_words(problems: Iterable[ErrorDetails]) -> str:
    """A line for each of pydantic's errors."""
    return "\n".join(map(_line, problems))


def _line(problem: ErrorDetails) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "task"
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"unknown setting {where!r}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"setting {where!r}: {message}, got {problem['input']!r}"
