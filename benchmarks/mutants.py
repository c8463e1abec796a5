"""How many small faults in the core's maths do the tests notice?

    python -m benchmarks.mutants [--sample 200] [--seed 1] [--workers 2] [--out mutants.json]

Cosmic-ray's operators change one number, operator or condition of ``metaem_core`` at a time (its
settings aside), in a copy of the repository. For each mutant the tests run that reach the changed
line, the quickest first; the first failure means that the tests notice it. A survivor is listed
with its change. Needs ``pip install cosmic-ray coverage`` beside the development environment.
"""

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from difflib import unified_diff
from pathlib import Path
from queue import SimpleQueue

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from coverage import CoverageData

ROOT = Path(__file__).parent.parent
COPIED = ("flows", "tasks", "metaem_core", "data_contracts", "tests", "pyproject.toml")
TESTS = ("tests/core", "tests/tasks/test_remote.py", "tests/tasks/test_carried.py")
# these change names, errors or decorators, not what is calculated
LEFT_OUT = ("RemoveDecorator", "ExceptionReplacer", "VariableReplacer", "VariableInserter")
OPERATORS = [name for name in operator_names() if not name.endswith(LEFT_OUT)]
COVERAGE = "[run]\nsource = metaem_core\ndynamic_context = test_function\ndata_file = {}\n"
SECONDS = 300  # a mutant whose tests take longer hangs


@dataclass(frozen=True)
class Mutant:
    """One change of one file."""

    file: str
    line: int
    last_line: int
    operator: str
    occurrence: int

    def source(self) -> str:
        """The changed file."""
        changed = mutate_code((ROOT / self.file).read_text(), self._operator(), self.occurrence)
        return str(changed)

    def change(self) -> str:
        """The changed lines, before and after."""
        before, after = (ROOT / self.file).read_text().splitlines(), self.source().splitlines()
        lines = list(unified_diff(before, after, lineterm="", n=0))[3:]
        return " | ".join(line.strip() for line in lines)

    def _operator(self) -> object:
        return get_operator(self.operator)()


def mutants(file: Path) -> Iterator[Mutant]:
    """All of a file's, but those of type annotations."""
    text = file.read_text()
    tree, annotations = get_ast(text), list(_annotations(ast.parse(text)))
    for name in OPERATORS:
        operator = get_operator(name)()
        positions = (p for node in ast_nodes(tree) for p in operator.mutation_positions(node))
        for occurrence, (start, end) in enumerate(positions):
            if not any(first <= start < last for first, last in annotations):
                where = str(file.relative_to(ROOT))
                yield Mutant(where, start[0], end[0], name, occurrence)


def _annotations(tree: ast.Module) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    for node in ast.walk(tree):
        for field in ("annotation", "returns"):
            found = getattr(node, field, None)
            if found is not None:
                yield (found.lineno, found.col_offset), (found.end_lineno, found.end_col_offset)


def sample(size: int, seed: int) -> list[Mutant]:
    """Changes drawn by place first, so that an operator with many replacements counts once."""
    places: dict[tuple[str, int], list[Mutant]] = defaultdict(list)
    for file in sorted((ROOT / "metaem_core").rglob("*.py")):
        if file.parent.name != "config":
            for mutant in mutants(file):
                places[mutant.file, mutant.line].append(mutant)
    draw = random.Random(seed)
    chosen = draw.sample(sorted(places), min(size, len(places)))
    return [draw.choice(places[place]) for place in chosen]


class Reach:
    """Which tests reach which line, and how long each takes."""

    def __init__(self, folder: Path) -> None:
        data, report = folder / "coverage", folder / "junit.xml"
        settings = folder / "coveragerc"
        settings.write_text(COVERAGE.format(data))
        command = ["coverage", "run", f"--rcfile={settings}", "-m", "pytest", "-q", *TESTS]
        subprocess.run(
            [sys.executable, "-m", *command, f"--junitxml={report}", "-p", "no:cacheprovider"],
            cwd=ROOT,
            check=True,
        )
        self._data = CoverageData(str(data))
        self._data.read()
        self._seconds: dict[str, float] = defaultdict(float)
        for case in ElementTree.parse(report).iter("testcase"):
            name = f"{case.get('classname')}.{str(case.get('name')).partition('[')[0]}"
            self._seconds[name] += float(case.get("time", 0))

    def tests(self, mutant: Mutant) -> list[str]:
        """Of the changed lines, or of the whole file where they run at import; quickest first."""
        contexts = self._data.contexts_by_lineno(str(ROOT / mutant.file))
        lines = range(mutant.line, mutant.last_line + 1)
        names = {name for line in lines for name in contexts.get(line, ()) if name}
        if any("" in contexts.get(line, ()) for line in lines):
            names = {name for of_line in contexts.values() for name in of_line if name}
        quickest = sorted(names, key=lambda name: (self._seconds[name], name))
        parts = [name.rpartition(".") for name in quickest]
        return [f"{module.replace('.', '/')}.py::{test}" for module, _, test in parts]


def copied(tree: Path) -> Path:
    """A copy of the code and the tests."""
    tree.mkdir()
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tree / name)
    return tree


def noticed(mutant: Mutant, tests: list[str], tree: Path) -> bool:
    """Whether any of the tests fails on the mutant, in the copy ``tree``."""
    file = tree / mutant.file
    right = file.read_text()
    file.write_text(mutant.source())
    try:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, timeout=SECONDS, check=False
        )
        return done.returncode != 0
    except subprocess.TimeoutExpired:
        return True
    finally:
        file.write_text(right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("mutants.json"))
    given = parser.parse_args()
    chosen = sample(given.sample, given.seed)
    with tempfile.TemporaryDirectory() as folder:
        reach = Reach(Path(folder))
        free: SimpleQueue[Path] = SimpleQueue()
        for number in range(given.workers):
            free.put(copied(Path(folder) / f"tree-{number}"))

        def try_one(mutant: Mutant) -> bool:
            tree = free.get()
            try:
                tests = reach.tests(mutant)
                result = bool(tests) and noticed(mutant, tests, tree)
            finally:
                free.put(tree)
            sign = "noticed " if result else "SURVIVED"
            print(f"{sign} {mutant.file}:{mutant.line} {mutant.change()}", flush=True)
            return result

        with ThreadPoolExecutor(given.workers) as pool:
            results = list(pool.map(try_one, chosen))
    survivors = [
        {**asdict(m), "change": m.change()} for m, r in zip(chosen, results, strict=True) if not r
    ]
    given.out.write_text(json.dumps(survivors, indent=2))
    print(f"{sum(results)} of {len(results)} noticed, {100 * sum(results) / len(results):.1f} %")


if __name__ == "__main__":
    main()
