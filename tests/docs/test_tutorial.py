"""The tutorial does what it says: its commands are run in order, and print what it shows."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from flows.federation.loopback import free_port
from tests.docs.documents import ROOT, agrees, page, steps
from tests.support.waiting import ProcessTree, answers, wait_until

pytestmark = pytest.mark.night

TUTORIAL = page("docs/tutorial.md")
INSTALL = "make .venv/.ready\n. .venv/bin/activate\n"


def environment() -> dict[str, str]:
    """Of somebody who has only installed it, and runs a Prefect server."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("METAEM_")}
    commands = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
    quick = {"MLFLOW_WORKERS": "1"}  # of MLflow's page; four take twice as long to come up
    return own | quick | {"PATH": commands, "PREFECT_API_URL": PREFECT_API_URL.value()}


def shell(commands: str, folder: Path, variables: Mapping[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}"
    return done.stdout


def served(commands: str, folder: Path, variables: Mapping[str, str]) -> str:
    """The first line of a command that serves a page, once the page is there."""
    port, written = str(free_port()), commands.split("--port ")[1].strip()
    command = commands.replace(written, port).split()
    out, silent = subprocess.PIPE, subprocess.DEVNULL
    with ProcessTree(
        command, variables, cwd=folder, stdout=out, stderr=silent, text=True
    ) as server:
        assert server.stdout is not None
        line = str(server.stdout.readline())
        wait_until(lambda: answers(line.split()[0]), f"an answer from {line}")
    return line.replace(port, written)


def test_every_command_does_what_is_shown(prefect_server: None, tmp_path: Path) -> None:
    """All but the installation, which whoever runs the tests has done."""
    install, *rest = steps(TUTORIAL)
    assert install.commands == INSTALL
    assert f"READY := {INSTALL.split()[1]}\n" in (ROOT / "Makefile").read_text()
    variables, outputs = environment(), dict[str, str]()
    for commands, shown in rest:
        run = served if commands.startswith("metaem ui") else shell
        printed = outputs[commands] = run(commands, tmp_path, variables)
        if shown:
            assert agrees(printed, shown), f"{commands}\nprinted:\n{printed}\nshown:\n{shown}"
    ndcg = {name: float(cells[2]) for name, *cells in cells_of(outputs["metaem run\n"])}
    assert ndcg["metaem"] > 1.5 * max(ndcg["popularity"], ndcg["global_mean"])
    (mine,) = (printed for commands, printed in outputs.items() if "--history" in commands)
    assert {song.split("-")[1] for _, song, *_ in cells_of(mine)} == {"calm"}, "as most films"


def cells_of(printed: str) -> list[list[str]]:
    """The rows of a table."""
    rows = (line.strip().strip("│") for line in printed.splitlines() if line.startswith("│"))
    return [[cell.strip() for cell in row.split("│")] for row in rows]
