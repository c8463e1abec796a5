"""The whole grid on a small planted world, on worker processes."""

from collections import Counter
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from flows.settings import read_settings
from flows.table3 import completed, run
from metaem_core.config.transfer import Method

pytestmark = pytest.mark.night

TASKS = ("movie-music", "book-music")
SMALL = [
    "synthetic.config.growth=0.2",
    "pretrain.epochs=1",
    "mapping.epochs=1",
    "factors.epochs=1",
    "transfer.epochs=1",
    "ranking_users=5",
    "compared=calibrated",
]


def test_work_is_shared_and_a_method_that_diverges_is_all_that_is_missing(
    prefect_server: None, tmp_path: Path
) -> None:
    """Two tasks share their target, two methods their domains, and a second run shares it all."""
    words = ["table3", "--tasks", ",".join(TASKS), "--betas", "0.5", "--seeds", "1"]
    words += ["--methods", "emcdr,tgt", "--bases", "fcf", "--store", str(tmp_path / "store")]
    for each in (*SMALL, "transfer.learning_rate=1e30"):
        words += ["--set", each]
    for first in (True, False):
        ended = CliRunner().invoke(app, words)
        assert ended.exit_code == 1, ended.output
        lines = ended.output.splitlines()
        lost = [line for line in lines if line.startswith("missing: ")]
        assert [line.split(":")[1] for line in lost] == [
            f" emcdr-fcf, {task} beta 0.5 seed 1" for task in TASKS
        ]
        assert all("training diverged" in line for line in lost)
        done = Counter(line.split()[1] for line in lines if line.startswith("computed "))
        assert bool(done) == first
        if first:
            assert done["download"] == done["filter"] == 3  # movie, music, book
            assert done["pretrain"] == done["factorise"] == 4  # two sources, a target in two splits
            assert (done["baseline"], done["evaluate"], done["report"]) == (2, 2, 1)  # of two tasks
    (report,) = (tmp_path / "store" / "report").iterdir()
    page, text = ((report / name).read_text() for name in ("report.html", "report.md"))
    for line in lost:
        assert line.removeprefix("missing: ") in page
        assert line.replace("missing: ", "- ") in text
    assert ">TGT (FCF)</th>" in page
    assert ">EMCDR (FCF)</th>" not in page


@pytest.mark.parametrize(
    ("tasks", "runner", "message"),
    [
        ("movie-music,movie-film", "local", "film"),
        ("movie-music,nonsense", "local", "task"),
        ("movie-music", "spark", "local, dask, ray"),
    ],
)
def test_a_wrong_sweep_is_refused_before_anything_starts(
    tmp_path: Path, tasks: str, runner: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(read_settings({"store": tmp_path, "config": None}), tasks.split(","), runner)


def test_every_method_can_be_chosen() -> None:
    everything = read_settings({"methods": "all", "config": None})
    assert read_settings({"methods": "metaem,all,cmf", "config": None}) == everything
    assert everything.methods == get_args(Method)


def test_metaem_may_be_named_among_the_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in every table; the others are those named, not all of them."""
    named = read_settings({"methods": "metaem, emcdr", "config": None})
    assert completed(named).methods == ("emcdr",)
    alone = read_settings({"methods": "metaem", "config": None})
    assert completed(alone).methods == ()
    monkeypatch.setenv("METAEM_METHODS", "emcdr,metaem")
    assert read_settings({"config": None}) == named
