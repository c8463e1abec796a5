"""The sha256 of the source a stage is made of: its module and all of ours that it imports.

The files in a folder ``templates`` beside a module belong to its source. A file counts as it was
when this process first looked at it, before any stage ran: what is edited later is not
what it runs.
"""

import ast
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec, resolve_name
from pathlib import Path
from threading import Lock

OURS = frozenset({"flows", "tasks", "metaem_core", "data_contracts"})

# these run a stage but have no say in what it writes
MACHINERY = frozenset(
    {
        "tasks.progress",
        "tasks.store.records",
        "tasks.store.remote",
        "tasks.store.source_digest",
        "tasks.store.stage",
    }
)


_parsing = Lock()  # Python 3.11 raises SystemError where two threads parse at once


class EditedMeanwhile(RuntimeError):
    """Source that was edited after the process began and before it was imported."""


def code_digest(module: str) -> str:
    """The digest of :func:`sources`."""
    lines = [f"{name} {digest}\n" for name, digest in sorted(sources(module).items())]
    if not lines:
        raise ModuleNotFoundError(f"no source of the module {module!r}")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def sources(module: str) -> dict[str, str]:
    """The sha256 of ``module`` and of all it imports, directly or not, from our packages.

    A template's name is its package and its path there: ``tasks.report/templates/page.html``.
    """
    packages = OURS | {module.partition(".")[0]}
    digests: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _path(name)
        if path is None or name in digests or name in MACHINERY:
            continue
        digests[name], imported = _read(path, name)
        waiting.extend(other for other in imported if re.split("[./]", other)[0] in packages)
    return digests


def freeze(module: str) -> None:
    """Look at every file of our packages, and of the package of ``module``."""
    for package in OURS | {module.partition(".")[0]}:
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            for path in Path(folder).rglob("*.py"):
                _import_statements(path)
                for file in _templates(path.parent):
                    _source(path.parent / file)


def load(module: str) -> None:
    """Import all of :func:`sources`, so that nothing edited later takes part."""
    late = {name: digest for name, digest in sources(module).items() if name not in sys.modules}
    for name, digest in late.items():
        if "/" not in name:
            import_module(name)
        path = _path(name)
        if path is None or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise EditedMeanwhile(f"{name} was edited while the program ran: start it again")


def _path(name: str) -> Path | None:
    """The source file; None for a name that is a function or class of its module."""
    module, _, file = name.partition("/")
    if file:
        package = _path(module)
        return package and package.parent / file
    top, *rest = module.split(".")
    spec = find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        return Path(spec.origin) if spec is not None and spec.origin and not rest else None
    base = Path(next(iter(spec.submodule_search_locations))).joinpath(*rest)
    candidates = base / "__init__.py", base.with_suffix(".py")
    return next((path for path in candidates if path.is_file()), None)


@cache
def _source(path: Path) -> bytes:
    return path.read_bytes()


@cache
def _templates(folder: Path) -> tuple[str, ...]:
    """The files in ``templates/``, by their path in ``folder``."""
    files = (path for path in folder.glob("templates/**/*") if path.is_file())
    return tuple(path.relative_to(folder).as_posix() for path in files)


@cache
def _read(path: Path, name: str) -> tuple[str, frozenset[str]]:
    """The file's sha256, and the names of what it imports and of its templates."""
    digest = hashlib.sha256(_source(path)).hexdigest()
    if "/" in name:
        return digest, frozenset()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    templates = (f"{package}/{file}" for file in _templates(path.parent))
    return digest, frozenset((*_imports(_import_statements(path), package), *templates))


@cache
def _import_statements(path: Path) -> tuple[ast.Import | ast.ImportFrom, ...]:
    with _parsing:
        tree = ast.parse(_source(path))
    return tuple(node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))


def _imports(statements: Iterable[ast.Import | ast.ImportFrom], package: str) -> Iterator[str]:
    for node in statements:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            base = resolve_name("." * node.level + (node.module or ""), package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
