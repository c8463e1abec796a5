"""The documentation is right: settings, commands, links, paths, examples, versions."""

import doctest
import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from typer.core import TyperGroup
from typer.main import get_command

from flows.cli.main import app
from flows.settings import Settings, read_settings
from tests.docs.documents import DOCS, PAGES, ROOT, blocks, page

OPTIONS = page("docs/options.md")
STAGES = ("pretrain", "mapping", "factors", "transfer", "choice", "choice_mapping")
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
    if isinstance(default, tuple) and name not in ("betas", "seeds"):
        publishers = written == "the publishers'"  # addresses
        assert publishers or same(written.split(","), default or ("none",))
    elif default is None or isinstance(default, str | int | float | Path):
        assert same([written], ["null" if default is None else default])


def same(written: list[str], values: Sequence[object]) -> bool:
    both = zip(written, values, strict=True)
    return all(float(w) == v if isinstance(v, float) else w == str(v) for w, v in both)


def test_no_setting_is_documented_that_does_not_exist() -> None:
    known = {name for name, _ in every_setting()} | {"scale.low", "scale.high", "scale.step"}
    assert rows().keys() <= known


MADE = {  # by whoever reads
    *("metaem_core/methods/baselines/linear.py", "tasks/sources/folder.py"),  # docs/extending.md
    *("metaem.toml", "make_ratings.py", "report.md", "docker/certificates"),
}
CODE = ("benchmarks", "docs", "flows", "tasks", "metaem_core", "data_contracts", "tests")
OURS = {path.name for path in ROOT.iterdir() if path.is_dir()} | {"federated", "methods", "models"}


def prose(text: str) -> str:
    """What is not in a block."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def spans(name: str) -> list[str]:
    """What stands between backticks in the prose of a page."""
    return re.findall(r"`([^`]+)`", " ".join(prose(page(name)).split()))


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings."""
    found = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


def broken_links(name: str, text: str) -> list[str]:
    """Those of a page that lead to no file or to no heading in it."""
    folder, broken = (ROOT / name).parent, []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        target, _, anchor = link.partition("#")
        there = folder / target if target else ROOT / name
        if "://" in link:
            continue
        if not there.exists() or (anchor and anchor not in anchors(there.read_text())):
            broken.append(link)
    return broken


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    assert broken_links(name, page(name)) == []


def test_every_page_is_in_the_index() -> None:
    linked = re.findall(r"\]\(([\w.]+\.md)\)", page("docs/README.md"))
    assert {f"docs/{name}" for name in linked} | {"docs/README.md"} == {*DOCS}


def test_the_readme_has_a_row_for_every_stage() -> None:
    files = {path.stem for path in (ROOT / "tasks/stages").glob("*.py")} - {"__init__"}
    _, _, table = page("README.md").partition("| stage |")
    rows = table.partition("\n\n")[0].splitlines()[2:]
    assert sorted(row.split("|")[1].strip() for row in rows) == sorted(files)


def commands_of(name: str) -> Iterator[list[str]]:
    """The words of every ``metaem`` command that a page shows, in blocks and between backticks."""
    scripts = [block.text for block in blocks(page(name)) if block.kind == "bash"]
    lines = "\n".join(scripts).replace("\\\n", " ").splitlines()
    for line in [*lines, *spans(name)]:
        for part in re.split(r"\|\|?|&&|;", line):
            words = shlex.split(part, comments=True) if part.count("'") % 2 == 0 else part.split()
            while words and re.fullmatch(r"\w+=\S*", words[0]):
                words = words[1:]
            if len(words) > 1 and Path(words[0]).name == "metaem":
                yield words[1:]


def unknown(words: list[str]) -> list[str]:
    """What a command is not, or has not: its name, its subcommand's, its options'."""
    command = get_command(app)
    options = {"--help"}
    for word in words:
        options |= {
            option for each in command.params for option in (*each.opts, *each.secondary_opts)
        }
        if word.startswith("-"):
            if word.partition("=")[0] not in options:
                return [word]
        elif isinstance(command, TyperGroup) and word != "COMMAND":
            if word not in command.commands:
                return [word]
            command = command.commands[word]
    return []


@pytest.mark.parametrize("name", PAGES)
def test_commands_and_their_options_exist(name: str) -> None:
    assert [words for words in commands_of(name) if unknown(words)] == []


def test_every_command_is_in_the_table() -> None:
    every = get_command(app)
    assert isinstance(every, TyperGroup)
    documented = {words[0] for words in commands_of("docs/commands.md")} | {"COMMAND"}
    assert {*every.commands} <= documented


def assignments_of(name: str) -> Iterator[str]:
    """What a page sets: after ``--set``, and ``a.b=value`` between backticks."""
    for words in commands_of(name):
        yield from (after for before, after in pairwise(words) if before == "--set")
    nested = "|".join(n for n in Settings.model_fields if is_dataclass(getattr(Settings(), n)))
    for span in spans(name):
        found = re.fullmatch(rf"--set (\S+)|((?:{nested})\.[\w.]+=\S+)", span)
        if found and span != "--set name=value":
            yield found[1] or found[2]


@pytest.mark.parametrize("name", ["README.md", *sorted({*DOCS} - {"docs/extending.md"})])
def test_assignments_are_understood(name: str) -> None:
    for assignment in assignments_of(name):
        read_settings({}, ["files.files.any=any.csv", assignment])


@pytest.mark.parametrize("name", PAGES)
def test_settings_named_in_the_prose_exist(name: str) -> None:
    known = {name for name, _ in every_setting()}
    nested = {setting.partition(".")[0] for setting in known if "." in setting}
    files = (".py", ".md", ".html", ".parquet")
    for span in spans(name):
        top = re.fullmatch(r"(\w+)\.[a-z_.0-9]+", span)
        if top and top[1] in nested and Path(span).suffix not in files:
            assert span in known | RUN_DECIDES | {"folder.path"}, span


def anywhere(end: str) -> bool:
    """Whether a path in one of the folders of code ends so."""
    return any(next((ROOT / folder).glob(f"**/{end}"), None) for folder in CODE)


def missing_paths(found: list[str]) -> list[str]:
    """Those that look like paths of the repository and are not."""
    looks = [span for span in found if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", span)]
    ours = [
        span
        for span in looks
        if Path(span).suffix in (".py", ".md", ".yaml", ".toml", ".cff", ".Dockerfile")
        or ("/" in span and span.split("/")[0] in OURS)
    ]
    return [
        span
        for span in ours
        if span not in MADE and not (ROOT / span).exists() and not anywhere(span.rstrip("/"))
    ]


@pytest.mark.parametrize("name", PAGES)
def test_paths_exist(name: str) -> None:
    assert missing_paths(spans(name)) == []


@pytest.mark.parametrize("name", PAGES)
def test_examples_give_what_they_show(name: str) -> None:
    """Python prompts of a page, one session."""
    prompts = "\n".join(block.text for block in blocks(page(name)) if ">>>" in block.text)
    session = doctest.DocTestParser().get_doctest(prompts, {}, name, name, 0)
    assert doctest.DocTestRunner().run(session).failed == 0


def test_versions_and_licence_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert f"## {project['version']} " in page("CHANGELOG.md")
    (licence,) = project["license-files"]
    assert "Apache License\n                           Version 2.0" in (ROOT / licence).read_text()
    for image in (ROOT / "docker").glob("*.Dockerfile"):  # that build the package
        text = image.read_text()
        assert f"COPY pyproject.toml {project['readme']} {licence}" in text
