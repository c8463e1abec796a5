"""The command line, as a user meets it."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import typer
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from flows.cli.main import app
from flows.errors import plain_errors
from flows.settings import Settings
from tests.conftest import SMALL, FinishedRun
from tests.support.damage import edit
from tests.support.waiting import deadline


def metaem(*arguments: object, code: int = 0) -> str:
    """What the command prints, which has to end with this code."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done.output


def assignments() -> list[str]:
    return [part for each in SMALL for part in ("--set", each)]


@pytest.fixture
def root(finished_run: FinishedRun) -> Path:
    return finished_run.store.root


def test_help_is_instant_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['metaem', '--help']\n"
        "from flows.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'mlflow', 'prefect', 'polars', 'pydantic'} & {*sys.modules}\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    before = os.times().children_user  # processor time: a busy machine is not a slow command
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage: metaem" in done.stdout
    assert os.times().children_user - before < deadline(2)


def test_a_repeated_run_shows_the_table_and_where_to_look(root: Path) -> None:
    done = metaem("run", "--store", root, "--betas", "0.3,0.6", *assignments())
    for part in ("beta 0.3", "beta 0.6", "metaem", "bias_transfer", "rmse", "metaem ui"):
        assert part in done
    assert done.count("reused") == 24
    assert "computed" not in done
    assert "removed" not in done


def test_a_stage_is_run_again_on_request_alone(root: Path) -> None:
    common = ("--store", root, "--betas", "0.3,0.6", *assignments())
    again = metaem("stage", "split", *common, "--refresh")
    assert again.count("computed split") == 2
    assert again.count("computed") == 2
    assert "pretrain" not in again
    shown = dict(line.split(": ") for line in again.splitlines() if line.startswith("split "))
    assert [*shown] == [f"split movie-music beta {beta} seed 1" for beta in (0.3, 0.6)]
    assert all((Path(folder) / "split.parquet").is_file() for folder in shown.values())


def test_stats_show_both_domains(root: Path) -> None:
    done = metaem("stats", "--store", root, *assignments())
    for part in ("movie", "music", "overlap", "1,400"):
        assert part in done


def test_artifacts_are_listed_shown_and_verified(finished_run: FinishedRun, root: Path) -> None:
    ref = finished_run.outcome.evaluations[0]
    assert f"evaluate/{ref.digest[:12]}" in metaem("artifacts", "list", "--store", root)
    shown = metaem("artifacts", "show", ref.digest[:16], "--store", root)
    assert '"task": "movie-music"' in shown
    many = metaem("artifacts", "show", "pretrain", "--store", root, code=2)
    assert many.count("\n") == 1
    assert "give more of one" in many
    metaem("artifacts", "verify", "--store", root)


def test_damage_and_garbage_are_found(
    finished_run: FinishedRun, root: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    edit(next(copy.glob("split/*/split.parquet")))
    checked = metaem("artifacts", "verify", "--store", copy, code=1)
    assert "split.parquet" in checked.replace("\n", "")
    evaluations = [*copy.glob("evaluate/*")]
    lost = copy / "evaluate" / finished_run.outcome.evaluations[0].digest
    shutil.rmtree(lost)
    checked = metaem("artifacts", "verify", "evaluate", "--store", copy, code=1)
    assert checked.count("missing") == 1
    assert f"evaluate/{lost.name} is missing" in checked.replace("\n", "")
    assert f"{len(evaluations)} artifacts, 1 damaged" in checked
    before = {*copy.rglob("*")}
    assert "would free" in metaem("artifacts", "gc", "--store", copy, "--dry-run")
    assert {*copy.rglob("*")} == before
    swept = metaem("artifacts", "gc", "--store", copy, "--keep-days", "0")
    assert "freed" in swept
    assert [*copy.glob("*/*/manifest.json")] == []
    assert [*(copy / "results").iterdir()] == []


@pytest.mark.parametrize("name", ["run", "stage", "stats"])
def test_every_option_is_a_setting(name: str) -> None:
    command = get_command(app)
    assert isinstance(command, TyperGroup)
    options = {option.name for option in command.commands[name].params}
    assert options - {"assignments", "name", "refresh"} <= {*Settings.model_fields}


FILES = ("--source", "files", "--task", "a-b", "--set", "files.files.b=b.csv", "--set")
WRONG = [
    ("run", "--betas", "7"),
    ("run", "--config", "missing.toml"),
    ("stage", "evalute"),
    ("artifacts", "list", "--store", "/nowhere/at/all"),
    ("run", "--source", "files", "--task", "a-b"),
    ("run", *FILES, "files.files.a=a.csv"),
    ("run", *FILES, "files.files.a=a.pdf"),
    ("stats", "--task", "movie-poetry"),
    ("run", "--source", "amazon-2014", "--task", "movie-poetry"),
    ("run", "--source", "amazon-2014", "--mirror", "/nowhere/at/all"),
    ("run", "--store", "/dev/null/store"),
    ("run", "--set", "report.reference=emcdr"),
    ("table3", "--set", "report.reference=emcdr-gmf"),
]


def test_bad_input_costs_one_line_and_exit_code_2_before_anything_is_started(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.csv").write_text("user_id,item_id,rating\n")
    code = (
        "import sys\n"
        "from tests.flows.test_cli import one_line\n"
        "for arguments in sys.argv[1:]: one_line(*arguments.split())"
    )
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_API_URL": ""}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", code, *map(" ".join, WRONG)]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert not list((tmp_path / "prefect").glob("prefect.db*")), "a server was started"


def one_line(*arguments: str) -> None:
    output = metaem(*arguments, code=2)
    lines = [line for line in output.splitlines() if line.strip()]
    assert len(lines) == 1, output
    assert lines[0].startswith("metaem: "), output


def test_a_file_that_is_not_there_is_refused_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None
) -> None:
    monkeypatch.chdir(tmp_path)
    one_line("run", *FILES, "files.files.a=b.csv", "--offline")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space", "/s/x"),
            "/s/x: No space: make room on the disk; the same",
        ),
        (PermissionError(errno.EACCES, "No", "/s"), "/s: No: allow it, or choose another folder"),
        (MemoryError(), "Cannot allocate memory: free some memory, or run fewer stages at once"),
        (
            httpx.ConnectError("refused"),
            "Prefect's server does not answer (ConnectError): the same",
        ),
    ],
)
def test_an_error_of_machine_or_server_is_one_line_that_says_what_to_do(
    error: Exception, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as end, plain_errors():
        raise error
    assert end.value.exit_code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"metaem: {message}")


@pytest.mark.parametrize(("shared", "few"), [(50, ["training", "cold"]), (250, [])])
def test_users_are_counted_and_too_few_are_warned_of(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prefect_server: None,
    shared: int,
    few: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = "".join(f"u{user},i{user % 3},4\n" for user in range(shared))
    (tmp_path / "a.csv").write_text(f"user_id,item_id,rating\n{lines}")
    files = [*FILES, "files.files.a=a.csv", "--set", "files.files.b=a.csv", "--set", "k=1"]
    done = metaem("stage", "split", *files, "--betas", "0.2", "--seeds", "1,2")
    training, validation, cold = shared * 72 // 100, shared * 8 // 100, shared // 5
    sizes = f"beta 0.2: {training} training, {validation} validation, {cold} cold users"
    assert done.count(sizes) == 1
    warned = [line.split() for line in done.splitlines() if line.startswith("warning: ")]
    assert [words[-6] for words in warned] == few


def test_a_lenient_run_counts_what_it_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None
) -> None:
    monkeypatch.chdir(tmp_path)
    good = "user_id,item_id,rating\nu,i,3\nu,j,4\n"
    (tmp_path / "a.csv").write_text(f"{good}u,j,9\nu,j,nonsense\n,j,2\n,i,2\nu,i,3\n")
    (tmp_path / "b.csv").write_text(good)
    done = metaem("stats", *FILES, "files.files.a=a.csv", "--set", "strict=false", "--set", "k=1")
    assert "a: dropped 4 of 7 lines (blank_id 2, not_a_number 1, off_scale 1)" in done
    assert "a: removed 1 repeated rating(s) of one item by one user" in done
    assert "b: " not in done
