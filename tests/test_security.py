"""Nothing of ours runs what it reads or holds a secret; nothing with a known hole is installed."""

import ast
import re
import subprocess
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

NAMED = r"\w*(?:password|passwd|passphrase|secret|token|api_?key|credential)\w*[\"']?\s*[:=]\s*"
SECRETS = {
    "key": r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)",
    "token": r"\b(gh[opsur]_\w{30}|github_pat_\w{20}|glpat-[\w-]{20}|xox[abeprs]-[\w-]{10}"
    r"|sk-[\w-]{20}|hf_\w{30}|pypi-\w{16}|pn[bu]_\w{20}|A[KS]IA[A-Z0-9]{16}|AIza[\w-]{30}|eyJ[\w-]{9,}\.eyJ)",
    "login": r"\w+://[^\s/:@\"']+:([^\s/@\"']+)@",
    "literal": rf"(?i){NAMED}[\"']([^\"'\n]{{4,}})[\"']",
    "setting": rf"(?im)^[\s-]*{NAMED}([^\s\"'$]\S{{3,}})",  # of files in which text needs no quotes
}
MADE_UP = {"swordfish", "secret", "geheim", "***", "AX77SECRETUSER"}  # in tests


def secrets(name: str, text: str) -> list[str]:
    """What in a file of that name looks like a secret."""
    kinds = [kind for kind in SECRETS if kind != "setting" or not name.endswith((".py", ".md"))]
    found = [value for kind in kinds for value in re.findall(SECRETS[kind], text)]
    return [value for value in found if not (name.startswith("tests/") and value in MADE_UP)]


def test_no_committed_file_holds_a_secret() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.splitlines()
    if not names:
        pytest.skip("not a checkout")
    files = {name: (ROOT / name).read_text(errors="replace") for name in names}
    found = {name: leaks for name, text in files.items() if (leaks := secrets(name, text))}
    assert found == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.key", "-----BEGIN EC " + "PRIVATE KEY-----"),
        ("flows/a.py", "login('gh" + "p_" + "a1B2" * 9 + "')"),
        ("docs/a.md", "export AWS_ACCESS_KEY_ID=AK" + "IA" + "Z7" * 8),
        ("tests/a.py", "password" + " = 'hunter22'"),
        ("tests/a.py", '{"AWS_SECRET_ACCESS_KEY"' + ': "wJalrXUtnFEMI"}'),
        ("flows/a.py", "secret" + " = 'swordfish'"),  # made up, but not in a test
        ("tests/a.py", "postgresql://mlflow:hunter22" + "@db:5432/mlflow"),
        ("docker/compose.yaml", "      POSTGRES_PASSWORD: hunter22"),
        ("docker/a.ini", "admin_password = hunter22"),
    ],
)
def test_a_secret_would_be_found(name: str, text: str) -> None:
    assert secrets(name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tests/a.py", "https://me:swordfish@host"),
        ("flows/a.py", "secret: str = read(path)"),
        ("docker/compose.yaml", "      POSTGRES_PASSWORD: ${PASSWORD:?of the database}"),
        ("docker/a.ini", "uri = postgresql://mlflow@db:5432/mlflow"),
    ],
)
def test_what_is_none_is_not_taken_for_one(name: str, text: str) -> None:
    assert secrets(name, text) == []


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
