"""The whole grid on a small planted world, on worker processes."""

from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from flows.settings import Settings, read_settings
from flows.table3 import completed, run
from metaem_core.config.transfer import Method
from tasks.progress import Finished, Step, listening

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


def settings(folder: Path) -> Settings:
    options = {"store": folder / "store", "betas": "0.5", "methods": "emcdr,tgt", "bases": "fcf"}
    return read_settings({**options, "config": None}, SMALL)


def test_work_that_cells_and_tasks_share_is_done_once(prefect_server: None, tmp_path: Path) -> None:
    """Two tasks share their target, two methods their domains, and a second run shares it all."""
    chosen = settings(tmp_path)
    store = chosen.open_store()
    news: list[Step | Finished] = []
    with listening(news.append):
        reported = run(chosen, TASKS)[TASKS[0]].report
    assert reported is not None
    summary = store.read_frame(reported, "summary.parquet")
    assert {*summary["task"]} == {*TASKS}
    assert {"emcdr-fcf", "tgt-fcf", "metaem"} < {*summary["method"]}
    ends = [each for each in news if isinstance(each, Finished)]
    done = Counter(each.label.split()[0] for each in ends if not each.reused)
    assert done["download"] == done["filter"] == 3  # movie, music, book
    assert done["pretrain"] == done["factorise"] == 4  # two sources, a target in two splits
    assert done["baseline"] == 2 * 2  # methods, tasks
    assert done["evaluate"] == 2
    news.clear()
    with listening(news.append):
        assert run(chosen, TASKS)[TASKS[0]].report == reported
    assert all(each.reused for each in news if isinstance(each, Finished))


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
        run(settings(tmp_path), tasks.split(","), runner)


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
