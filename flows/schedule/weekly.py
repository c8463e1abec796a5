"""Every week: all of Table 3."""

from functools import partial

from prefect import flow
from pydantic import PositiveInt

from flows import table3
from flows.schedule.attempt import attempt
from flows.schedule.parameters import Assignment, Bases, Betas, Folder, Tasks, scheduled_settings
from flows.settings import SourceName
from flows.table3 import completed
from metaem_core.config.transfer import Method
from tasks.store.stage import ArtifactSerializer


# with its own serializer Prefect would pickle what a failed flow raised
@flow(name="weekly", flow_run_name="weekly table3", result_serializer=ArtifactSerializer())
def weekly(
    tasks: Tasks = ("movie-music", "book-movie", "book-music"),
    source: SourceName | None = None,
    betas: Betas | None = None,
    seeds: PositiveInt = 10,
    methods: tuple[Method, ...] | None = None,
    bases: Bases | None = None,
    store: Folder | None = None,
    assignments: tuple[Assignment, ...] = (),
) -> None:
    """All of Table 3: every task, cold fraction, method and seed.

    Args:
        tasks: Each a source and a target domain, such as movie-music.
        source: Where ratings come from.
        betas: Shares of the shared users that are cold.
        seeds: How many; 10 are 1 to 10.
        methods: Compared with MetaEM; if empty, all of them.
        bases: Base models of these methods.
        store: Folder of all results; if empty, the one in METAEM_STORE.
        assignments: Any setting, such as workers=4.
    """
    settings = scheduled_settings(
        assignments,
        source=source,
        betas=betas,
        seeds=tuple(range(1, seeds + 1)),
        methods=methods,
        bases=bases,
        store=store,
    )
    attempt("weekly-table3", completed(settings), partial(table3.run, tasks=tasks))
