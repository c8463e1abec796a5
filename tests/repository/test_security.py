"""No file of ours holds a secret."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = r"\w*(?:password|passwd|passphrase|secret|token|api_?key|credential)\w*[\"']?\s*[:=]\s*"
SECRETS = {
    "key": r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)",
    "token": r"\b(gh[opsur]_\w{30}|github_pat_\w{20}|glpat-[\w-]{20}|xox[abeprs]-[\w-]{10}"
    r"|sk-[\w-]{20}|hf_\w{30}|pypi-\w{16}|pn[bu]_\w{20}|A[KS]IA[A-Z0-9]{16}|AIza[\w-]{30}|eyJ[\w-]{9,}\.eyJ)",
    "login": r"\w+://[^\s/:@\"']+:([^\s/@\"']+)@",
    "literal": rf"(?i){NAMED}[\"']([^\"'\n]{{4,}})[\"']",
    "setting": rf"(?im)^[\s-]*{NAMED}([^\s\"'$]\S{{3,}})",  # of files in which text needs no quotes
}
INVENTED = {"swordfish", "secret", "geheim", "***", "AX77SECRETUSER"}  # in tests


def secrets(name: str, text: str) -> list[str]:
    """What in a file of that name looks like a secret."""
    kinds = [kind for kind in SECRETS if kind != "setting" or not name.endswith((".py", ".md"))]
    matches = [value for kind in kinds for value in re.findall(SECRETS[kind], text)]
    return [value for value in matches if not (name.startswith("tests/") and value in INVENTED)]


def test_no_committed_file_holds_a_secret() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.splitlines()
    if not names:
        pytest.skip("not a checkout")
    files = {name: (ROOT / name).read_text(errors="replace") for name in names}
    leaking = {name: leaks for name, text in files.items() if (leaks := secrets(name, text))}
    assert leaking == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.key", "-----BEGIN EC " + "PRIVATE KEY-----"),
        ("flows/a.py", "login('gh" + "p_" + "a1B2" * 9 + "')"),
        ("docs/a.md", "export AWS_ACCESS_KEY_ID=AK" + "IA" + "Z7" * 8),
        ("tests/a.py", '{"AWS_SECRET_ACCESS_KEY"' + ': "wJalrXUtnFEMI"}'),
        ("flows/a.py", "secret" + " = 'swordfish'"),  # invented, but not in a test
        ("tests/a.py", "postgresql://mlflow:hunter22" + "@db:5432/mlflow"),
        ("docker/compose.yaml", "      POSTGRES_PASSWORD: hunter22"),
    ],
)
def test_a_secret_would_be_found(name: str, text: str) -> None:
    assert secrets(name, text)
