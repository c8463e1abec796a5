"""The documentation names every setting with its default, and every command it shows exists."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.settings import Settings, read_settings

ROOT = Path(__file__).parent.parent
OPTIONS = (ROOT / "docs" / "options.md").read_text()
STAGES = ("pretrain", "mapping", "factors", "transfer")
RUN_DECIDES = {f"{stage}.seed" for stage in STAGES} | {"factors.base", "transfer.method"}


def settings(name: str, value: object) -> Iterator[tuple[str, object]]:
    if is_dataclass(value):
        for field in fields(value):
            yield from settings(f"{name}.{field.name}", getattr(value, field.name))
    else:
        yield name, value


def every_setting() -> list[tuple[str, object]]:
    defaults = Settings()
    named = [s for name in Settings.model_fields for s in settings(name, getattr(defaults, name))]
    decided = [s for s in named if s[0] not in RUN_DECIDES and ".scale.high" not in s[0]]
    return [s for s in decided if ".scale.low" not in s[0] and ".scale.step" not in s[0]]


def rows() -> dict[str, str]:
    """Each setting in the tables, with the text of its default."""
    found = {}
    for line in OPTIONS.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `") and len(cells) == 3:
            names, defaults = re.findall(r"`([^`]+)`", cells[0]), re.findall(r"`([^`]+)`", cells[1])
            texts = defaults if len(defaults) == len(names) else [cells[1].strip("`")] * len(names)
            found |= dict(zip(names, texts, strict=True))
    return found


@pytest.mark.parametrize(("name", "default"), every_setting())
def test_every_setting_is_documented_with_its_default(name: str, default: object) -> None:
    written = rows().get(name)
    assert written is not None, f"{name} is missing from docs/options.md"
    if written == "null":
        assert default is None
    elif isinstance(default, float):
        assert float(written) == default
    elif default == ():
        assert written == "none"
    elif isinstance(default, tuple) and isinstance(default[0], str) and "://" not in default[0]:
        assert written.split(",") == [*default]
    elif isinstance(default, tuple) and name not in ("betas", "seeds"):
        assert written == "the publishers'" or [float(x) for x in written.split(",")] == [*default]
    elif isinstance(default, str | int | bool | Path):
        assert written == str(default)


def test_no_setting_is_documented_that_does_not_exist() -> None:
    known = {name for name, _ in every_setting()} | {"scale.low", "scale.high", "scale.step"}
    assert rows().keys() <= known


@pytest.mark.parametrize("document", sorted(p.name for p in (ROOT / "docs").glob("*.md")))
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / "docs" / document).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert "://" in target or (ROOT / "docs" / target).exists(), target


def shown_commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = "\n".join(blocks).splitlines()
    return [line.split("#")[0].strip() for line in lines if line.startswith("metaem ")]


@pytest.mark.parametrize("command", shown_commands())
def test_commands_in_the_readme_are_understood(command: str) -> None:
    """Every option that the README gives a command is one that the command has."""
    words = command.split()[1:]
    options = [word for word in words if word.startswith("--")]
    names = [word for word in words[:2] if not word.startswith("--")]
    path = names if names[:1] == ["artifacts"] else names[:1]
    shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    for option in options:
        assert option in shown.output, option
    assigned = [after for before, after in pairwise(words) if before == "--set"]
    read_settings({}, assigned)
