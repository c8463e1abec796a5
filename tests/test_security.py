"""Nothing of ours runs what it reads, and nothing older than a known hole is installed."""

import ast
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).parent.parent
OURS = [
    path
    for package in ("flows", "tasks", "metaem_core", "data_contracts")
    for path in (ROOT / package).rglob("*.py")
]
MODULES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "pty"}
CALLS = {
    *("eval", "exec", "torch.load", "torch.save", "np.load", "np.save", "numpy.load"),
    *("pd.read_pickle", "pandas.read_pickle", "yaml.load", "yaml.unsafe_load", "os.system"),
}
# package, first version without it, what it was
ADVISORIES = [
    ("mlflow", "3.15.0", "CVE-2026-96804: pickles loaded although they are forbidden"),
    ("torch", "2.6.0", "CVE-2025-32434: code run from weights"),
    ("pyarrow", "14.0.1", "CVE-2023-47248: code run from Arrow and Parquet files"),
    ("prefect", "3.7.0", "CVE-2026-7723: WebSocket without authentication"),
    ("aiohttp", "3.13.3", "CVE-2025-69223: decompression bombs"),
    ("urllib3", "2.6.0", "CVE-2025-66471: decompression bombs"),
]


def dangers(source: str) -> list[str]:
    """Imports and calls that run or may run what they are given."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names if each.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            shell = [k for k in node.keywords if k.arg in ("shell", "allow_pickle")]
            found += [name] if name in CALLS or shell else []
    return found


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_of_ours_can_run_what_it_reads(path: Path) -> None:
    assert dangers(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('x', weights_only=True)",
        "np.load('x')",
        "polars.read(x, allow_pickle=True)",
        "subprocess.run('ls', shell=True)",
        "eval('1')",
    ],
)
def test_it_would_be_noticed(source: str) -> None:
    assert dangers(source)


@pytest.mark.parametrize(("package", "fixed", "what"), ADVISORIES)
def test_no_version_with_a_known_hole_is_installed(package: str, fixed: str, what: str) -> None:
    try:
        installed = version(package)
    except PackageNotFoundError:
        pytest.skip(f"{package} is not here")
    assert Version(installed) >= Version(fixed), what
