"""The examples of docs/extending.md work: put into a copy of the code, tested and used there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from tests.docs.documents import PAGES, ROOT, blocks, page

pytestmark = pytest.mark.night

COPIED = ("flows", "tasks", "metaem_core", "data_contracts", "tests", "pyproject.toml")
EXTENDING = page("docs/extending.md")
NEW = re.compile(r"^`([\w/]+\.py)`:\n\n```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code with everything that the page adds to it."""
    folder = tmp_path_factory.mktemp("extended")
    for name in (*COPIED, "docs", *(name for name in PAGES if "/" not in name)):
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, folder / name)
    for name, code in NEW.findall(EXTENDING):
        (folder / name).write_text(code)
    patches = [block.text for block in blocks(EXTENDING) if block.kind == "diff"]
    for patch in patches:
        done("git", "apply", "-", folder=folder, given=patch)
    return folder


def done(*command: str, folder: Path, given: str | None = None) -> str:
    """What a command in the copy says; its code comes before ours."""
    variables = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    variables |= {"PYTHONPATH": str(folder), "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    ended = subprocess.run(
        command, cwd=folder, env=variables, input=given, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_method_keeps_the_contract(copy: Path) -> None:
    """Every test of tests/core/test_methods.py that is there for each method."""
    said = done(
        sys.executable, "-m", "pytest", "tests/core/test_methods.py", "-k", "linear", folder=copy
    )
    passed = re.search(r"(\d+) passed", said)
    assert passed is not None
    assert int(passed[1]) > 30


def test_the_source_is_read_and_its_setting_documented(
    copy: Path, prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", PREFECT_API_URL.value())
    pairs = [(user, item) for user in range(6) for item in range(7)]
    lines = [f"u{user}\ti{item}\t{1 + (user + item) % 5}" for user, item in pairs]
    for domain in ("films", "songs"):
        (tmp_path / f"{domain}.tsv").write_text("\n".join(["user\titem\tstars", *lines, ""]))
    options = ["--source", "folder", "--set", f"folder.path={tmp_path}", "--task", "films-songs"]
    stats = [sys.executable, "-m", "flows.cli.main", "stats", *options]
    said = done(*stats, "--store", str(tmp_path / "s"), folder=copy)
    assert re.search(r"songs +│ +6 │ +7 │ +42 │ +6 ", said), said
    done(sys.executable, "-m", "pytest", "tests/docs/test_docs.py", "-k", "setting", folder=copy)


def test_the_examples_are_as_tidy_as_the_code(copy: Path) -> None:
    names = [name for name, _ in NEW.findall(EXTENDING)]
    assert len(names) == 2
    assert all((copy / name).read_text().count("\n") <= 80 for name in names)
    ruff = str(Path(sys.executable).with_name("ruff"))
    done(ruff, "format", "--check", *names, "flows", "metaem_core", folder=copy)
    done(ruff, "check", *names, "flows", "metaem_core", folder=copy)
