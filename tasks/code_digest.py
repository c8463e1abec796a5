"""The sha256 of the source a stage is made of: its module and all of ours that it imports."""

import ast
import hashlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

OURS = frozenset({"flows", "tasks", "metaem_core", "data_contracts"})

# these run a stage but have no say in what it writes
MACHINERY = frozenset({"tasks.caching", "tasks.code_digest", "tasks.progress"})

Stamp = tuple[str, int, int]

_parsed: dict[Stamp, tuple[str, frozenset[str]]] = {}


def code_digest(module: str) -> str:
    """The digest of :func:`sources`."""
    lines = (f"{name} {digest}\n" for name, digest in sorted(sources(module).items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def sources(module: str) -> dict[str, str]:
    """The sha256 of ``module`` and of all it imports, directly or not, from our packages."""
    packages = OURS | {module.partition(".")[0]}
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _path(name)
        if path is None or name in found or name in MACHINERY:
            continue
        found[name], imported = _read(path, name)
        waiting.extend(other for other in imported if other.partition(".")[0] in packages)
    return found


def _path(module: str) -> Path | None:
    """The source file; None for a name that is a function or class of its module."""
    top, *rest = module.split(".")
    spec = find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        return Path(spec.origin) if spec is not None and spec.origin and not rest else None
    base = Path(next(iter(spec.submodule_search_locations))).joinpath(*rest)
    candidates = (
        (base.with_suffix(".py"), base / "__init__.py") if rest else (base / "__init__.py",)
    )
    return next((path for path in candidates if path.is_file()), None)


def _read(path: Path, module: str) -> tuple[str, frozenset[str]]:
    stat = path.stat()
    stamp = (str(path), stat.st_mtime_ns, stat.st_size)
    if stamp not in _parsed:
        source = path.read_bytes()
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        imported = frozenset(_imports(ast.parse(source), package))
        _parsed[stamp] = (hashlib.sha256(source).hexdigest(), imported)
    return _parsed[stamp]


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if node.level == 0:
        return node.module or ""
    parents = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parents, *([node.module] if node.module else [])])
